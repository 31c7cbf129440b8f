//! Pictures out of messages: every coding to the one form in which it is published.

use bytes::Bytes;

use super::head::{Codec, Part};
use super::import::{Elementary, Time};
use crate::codec::boxes::{self, NalConfig};
use crate::codec::whole::{Av1, Vpx};
use crate::codec::{Coding, Framer, Output, PesUnit, framer};
use crate::event::VideoCodec;

/// Bytes of a length until a record says otherwise: what all encoders use.
const LENGTH_SIZE: usize = 4;

/// The largest scratch space that is kept between pictures.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// H.264 and H.265: lengths become start codes, and the framer does the rest.
pub(super) struct Nals {
    codec: VideoCodec,
    framer: Box<dyn Framer>,
    length_size: usize,
    /// The sets of the last record, until newer ones came with a picture.
    sets: Vec<u8>,
    scratch: Vec<u8>,
    problem: Option<&'static str>,
}

impl Nals {
    pub(super) fn new(codec: VideoCodec) -> Self {
        Self {
            codec,
            framer: nal_framer(codec),
            length_size: LENGTH_SIZE,
            sets: Vec::new(),
            scratch: Vec::new(),
            problem: None,
        }
    }

    /// Another coding than the label says: OBS before 29.1 sent H.265 as AVC.
    fn relabel(&mut self, codec: VideoCodec) {
        if self.codec != codec {
            self.codec = codec;
            self.framer = nal_framer(codec);
        }
    }

    fn is_set(&self, head: u8) -> bool {
        match self.codec {
            VideoCodec::H265 => matches!(head >> 1 & 63, 32..=34),
            VideoCodec::H264 | VideoCodec::Av1 | VideoCodec::Vp9 | VideoCodec::Vp8 => {
                matches!(head & 31, 7 | 8)
            }
        }
    }

    /// Writes the picture behind start codes; false when it is cut off.
    fn convert(&mut self, part: &Part) -> bool {
        let data = &part.data[..];
        let marked = data.starts_with(&[0, 0, 0, 1]) || data.starts_with(&[0, 0, 1]);
        if marked && !boxes::has_lengths(data, self.length_size) {
            self.scratch.extend_from_slice(data);
            return true;
        }
        if boxes::heads(data, self.length_size).any(|head| self.is_set(head)) {
            self.sets.clear();
        }
        if part.keyframe {
            // A keyframe without IDR counts as one only together with its sets.
            self.scratch.extend_from_slice(&self.sets);
        }
        boxes::to_annex_b(data, self.length_size, &mut self.scratch)
    }
}

impl Elementary for Nals {
    fn configure(&mut self, data: &Bytes) {
        if data.starts_with(&[0, 0, 0, 1]) {
            self.sets = data.to_vec();
        } else {
            let avc = NalConfig::avc(data.clone()).map(|config| (VideoCodec::H264, config));
            let hevc = || NalConfig::hevc(data.clone()).map(|config| (VideoCodec::H265, config));
            let found = if self.codec == VideoCodec::H265 { hevc().or(avc) } else { avc.or_else(hevc) };
            let Some((codec, config)) = found else {
                self.problem = Some("sequence_header_invalid");
                return;
            };
            if config.sets.is_empty() {
                return; // The parameters before it go on.
            }
            self.relabel(codec);
            self.length_size = config.length_size;
            self.sets = config.annex_b();
        }
        self.framer.push(unit(&self.sets, None));
        self.framer.flush();
    }

    fn push(&mut self, part: &Part, time: Time, jumped: bool) {
        self.scratch.clear();
        let whole = self.convert(part);
        let damaged = !whole;
        let pes = unit(&self.scratch, Some(time));
        self.framer.push(PesUnit { damaged, discontinuity: jumped, ..pes });
        self.framer.flush();
        if self.scratch.capacity() > SCRATCH_BYTES_MAX {
            self.scratch = Vec::new();
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.problem.take().map(Output::Problem).or_else(|| self.framer.poll())
    }
}

fn nal_framer(codec: VideoCodec) -> Box<dyn Framer> {
    framer(if codec == VideoCodec::H265 { Coding::H265 } else { Coding::H264 })
}

fn unit(data: &[u8], time: Option<Time>) -> PesUnit<'_> {
    PesUnit {
        data,
        pts: time.map(|time| time.pts),
        dts: time.map(|time| time.dts),
        damaged: false,
        gap: false,
        discontinuity: false,
        bounded: false,
    }
}

impl Elementary for Av1 {
    fn configure(&mut self, data: &Bytes) {
        Self::configure(self, data);
    }

    fn push(&mut self, part: &Part, time: Time, jumped: bool) {
        if jumped {
            self.lose();
        }
        Self::push(self, &part.data, part.keyframe, time.pts);
    }

    fn poll(&mut self) -> Option<Output> {
        Self::poll(self)
    }
}

impl Elementary for Vpx {
    fn configure(&mut self, data: &Bytes) {
        // vpcC with its version and flags: profile, then level.
        self.set_level(data.get(5).copied());
    }

    fn push(&mut self, part: &Part, time: Time, jumped: bool) {
        if jumped {
            self.lose();
        }
        Self::push(self, &part.data, time.pts);
    }

    fn poll(&mut self) -> Option<Output> {
        Self::poll(self)
    }
}

/// A reader of pictures in `codec`; `None` for what is no picture.
pub(super) fn elementary(codec: Codec) -> Option<Box<dyn Elementary>> {
    Some(match codec {
        Codec::Avc => Box::new(Nals::new(VideoCodec::H264)),
        Codec::Hevc => Box::new(Nals::new(VideoCodec::H265)),
        Codec::Av1 => Box::new(Av1::default()),
        Codec::Vp9 => Box::new(Vpx::new(VideoCodec::Vp9)),
        Codec::Vp8 => Box::new(Vpx::new(VideoCodec::Vp8)),
        Codec::Aac | Codec::Mp3 | Codec::Opus | Codec::Flac | Codec::Ac3 | Codec::Eac3 | Codec::Other => {
            return None;
        }
    })
}
