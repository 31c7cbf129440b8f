//! Sound out of messages: every message holds whole frames, and most codings need parameters from elsewhere.

use std::time::Duration;

use bytes::Bytes;

use super::head::{Codec, Part};
use super::import::{Elementary, Time};
use crate::codec::aac::block_duration;
use crate::codec::opus::{self, OpusLayout};
use crate::codec::packets::Packets;
use crate::codec::{Coding, Framer, Output, PesUnit, flac, framer, latm, strip_adts};
use crate::event::{AudioCodec, AudioConfig};

/// AAC with its AudioSpecificConfig. The bits of the message head say nothing.
#[derive(Default)]
pub(super) struct Aac {
    packets: Packets,
    /// Samples per frame and the rate at which they count.
    timing: Option<(u32, u32)>,
    /// Senders that give no parameters but keep the ADTS header.
    adts: Option<Box<dyn Framer>>,
}

impl Elementary for Aac {
    fn configure(&mut self, data: &Bytes) {
        if data.is_empty() {
            return; // ffmpeg writes one before it knows better.
        }
        let Some((samples, rate, config)) = latm::read_specific_config(data) else {
            self.packets.problem("aac_config_unsupported");
            return;
        };
        self.timing = Some((samples, rate));
        self.adts = None;
        self.packets.configure(config);
    }

    fn push(&mut self, part: &Part, time: Time, jumped: bool) {
        if jumped {
            self.packets.lose();
        }
        let raw = strip_adts(&part.data);
        match self.timing {
            Some((samples, rate)) => self.packets.push(raw, time.pts, samples, rate),
            None if raw.len() < part.data.len() => {
                self.adts.get_or_insert_with(|| framer(Coding::AacAdts)).push(pes(part, time, jumped));
            }
            None => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.packets.poll().or_else(|| self.adts.as_mut()?.poll())
    }
}

/// Opus with its OpusHead; without one it is stereo.
#[derive(Debug, Default)]
pub(super) struct Opus {
    packets: Packets,
    head: Option<Bytes>,
    channels: Option<u8>,
    fresh: bool,
}

impl Opus {
    fn config(&self, samples: u32) -> Option<AudioConfig> {
        const CHANNELS_AT: usize = 9;
        let layout = OpusLayout::from_code(self.channels.unwrap_or(2)).or(OpusLayout::from_code(2))?;
        let head = self.head.clone().unwrap_or_else(|| Bytes::from(opus::head(layout, 0)));
        Some(AudioConfig {
            codec: AudioCodec::Opus,
            codec_string: "opus".to_owned(),
            sample_rate: opus::RATE,
            channels: u32::from(*head.get(CHANNELS_AT)?),
            description: Some(head),
            frame_duration: block_duration(samples, opus::RATE),
            jitter: Duration::ZERO,
        })
    }
}

impl Elementary for Opus {
    fn configure(&mut self, data: &Bytes) {
        const HEAD_BYTES: usize = 19;
        let valid = data.len() >= HEAD_BYTES && data.starts_with(b"OpusHead") && data[9] > 0;
        if valid {
            self.head = Some(data.clone());
            self.fresh = true;
        } else if !data.is_empty() {
            self.packets.problem("opus_head_invalid");
        }
    }

    fn channels(&mut self, count: u8) {
        if (1..=8).contains(&count) && self.channels != Some(count) {
            self.channels = Some(count);
            self.fresh = true;
        }
    }

    fn push(&mut self, part: &Part, time: Time, jumped: bool) {
        if jumped {
            self.packets.lose();
        }
        let Some(samples) = opus::packet_samples(&part.data) else {
            self.packets.problem("opus_packet");
            return;
        };
        if std::mem::take(&mut self.fresh) || !self.packets.is_configured() {
            let config = self.config(samples);
            config.into_iter().for_each(|config| self.packets.configure(config));
        }
        self.packets.push(&part.data, time.pts, samples, opus::RATE);
    }

    fn poll(&mut self) -> Option<Output> {
        self.packets.poll()
    }
}

/// FLAC with its STREAMINFO.
#[derive(Debug, Default)]
pub(super) struct Flac {
    packets: Packets,
    rate: u32,
}

impl Elementary for Flac {
    fn configure(&mut self, data: &Bytes) {
        match flac::read_head(data) {
            Some(config) => {
                self.rate = config.sample_rate;
                self.packets.configure(config);
            }
            None if data.is_empty() => {}
            None => self.packets.problem("flac_head_invalid"),
        }
    }

    fn push(&mut self, part: &Part, time: Time, jumped: bool) {
        if jumped {
            self.packets.lose();
        }
        match flac::frame_samples(&part.data) {
            Some(samples) => self.packets.push(&part.data, time.pts, samples, self.rate),
            None => self.packets.problem("flac_frame"),
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.packets.poll()
    }
}

/// MPEG audio, AC-3 and Enhanced AC-3: frames that say everything themselves.
pub(super) struct SelfFramed(Box<dyn Framer>);

impl Elementary for SelfFramed {
    fn configure(&mut self, _data: &Bytes) {}

    fn push(&mut self, part: &Part, time: Time, jumped: bool) {
        self.0.push(pes(part, time, jumped));
    }

    fn poll(&mut self) -> Option<Output> {
        self.0.poll()
    }
}

fn pes(part: &Part, time: Time, jumped: bool) -> PesUnit<'_> {
    PesUnit {
        data: &part.data,
        pts: Some(time.pts),
        dts: None,
        damaged: false,
        gap: false,
        discontinuity: jumped,
        bounded: true,
    }
}

/// A reader of sound in `codec`; `None` for what is no sound.
pub(super) fn elementary(codec: Codec) -> Option<Box<dyn Elementary>> {
    Some(match codec {
        Codec::Aac => Box::new(Aac::default()),
        Codec::Opus => Box::new(Opus::default()),
        Codec::Flac => Box::new(Flac::default()),
        Codec::Mp3 => Box::new(SelfFramed(framer(Coding::MpegAudio))),
        Codec::Ac3 | Codec::Eac3 => Box::new(SelfFramed(framer(Coding::Ac3))),
        Codec::Avc | Codec::Hevc | Codec::Av1 | Codec::Vp9 | Codec::Vp8 | Codec::Other => return None,
    })
}
