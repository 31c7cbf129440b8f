//! Access units to frames: what each coding needs beyond its payload format.

use std::time::Duration;

use bytes::Bytes;
use moqgate_core::Timestamp;

use super::super::{Codec, Format};
use crate::codec::aac::block_duration;
use crate::codec::nal::START_CODE;
use crate::codec::opus::{self, OpusLayout};
use crate::codec::packets::Packets;
use crate::codec::whole::{Av1, Vpx};
use crate::codec::{Coding, Framer, Output, PesUnit, framer, framer_in_order};
use crate::event::{AudioCodec, AudioConfig, VideoCodec};

/// Reads one coding.
pub(super) enum Reader {
    Nals(Box<dyn Framer>),
    Av1(Av1),
    Vpx(Vpx),
    Opus(Opus),
}

impl Reader {
    pub(super) fn new(format: &Format) -> Self {
        let nals = |mut framer: Box<dyn Framer>| {
            let sets: Vec<u8> = format
                .parameter_sets()
                .iter()
                .flat_map(|set| START_CODE.into_iter().chain(set.iter().copied()))
                .collect();
            if !sets.is_empty() {
                framer.push(pes(&sets, None, false));
                framer.flush();
            }
            Self::Nals(framer)
        };
        match format.codec() {
            Codec::H264 => nals(framer_in_order()),
            Codec::H265 => nals(framer(Coding::H265)),
            Codec::Vp8 => Self::Vpx(Vpx::new(VideoCodec::Vp8)),
            Codec::Vp9 => Self::Vpx(Vpx::new(VideoCodec::Vp9)),
            Codec::Av1 => Self::Av1(Av1::default()),
            Codec::Opus => Self::Opus(Opus::default()),
        }
    }

    /// Takes a whole access unit. `lost`: units are missing before it; `jumped`: its time does not continue that of the last
    /// one, though nothing is missing.
    pub(super) fn push(&mut self, unit: &[u8], time: Timestamp, lost: bool, jumped: bool) {
        match self {
            Self::Nals(framer) => {
                framer.push(pes(unit, Some(time), lost));
                framer.flush();
            }
            Self::Av1(av1) => {
                if lost {
                    av1.lose();
                }
                av1.push(unit, false, time);
            }
            Self::Vpx(vpx) => {
                if lost {
                    vpx.lose();
                }
                vpx.push(unit, time);
            }
            Self::Opus(opus) => {
                if lost || jumped {
                    opus.packets.lose();
                }
                opus.push(unit, time);
            }
        }
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        match self {
            Self::Nals(framer) => framer.poll(),
            Self::Av1(av1) => av1.poll(),
            Self::Vpx(vpx) => vpx.poll(),
            Self::Opus(opus) => opus.packets.poll(),
        }
    }
}

fn pes(data: &[u8], pts: Option<Timestamp>, gap: bool) -> PesUnit<'_> {
    PesUnit { data, pts, dts: None, damaged: false, gap, discontinuity: false, bounded: false }
}

/// Opus, whose packets say how long they play. RTP always counts it as stereo at 48 kHz (RFC 7587 section 4.1); what is
/// coded as one channel, a decoder gives out on both.
#[derive(Debug, Default)]
pub(super) struct Opus {
    packets: Packets,
}

impl Opus {
    fn push(&mut self, packet: &[u8], time: Timestamp) {
        let Some(samples) = opus::packet_samples(packet) else {
            self.packets.problem("opus_packet");
            return;
        };
        if !self.packets.is_configured()
            && let Some(layout) = OpusLayout::from_code(2)
        {
            self.packets.configure(AudioConfig {
                codec: AudioCodec::Opus,
                codec_string: "opus".to_owned(),
                sample_rate: opus::RATE,
                channels: u32::from(layout.channels),
                description: Some(Bytes::from(opus::head(layout, 0))),
                frame_duration: block_duration(samples, opus::RATE),
                jitter: Duration::ZERO,
            });
        }
        self.packets.push(packet, time, samples, opus::RATE);
    }
}
