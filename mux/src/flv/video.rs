//! Pictures out of messages: every coding to the one form in which it is published.

use std::collections::VecDeque;

use bytes::Bytes;

use super::head::{Codec, Part};
use super::import::{Elementary, Time};
use crate::codec::av1::{self, Sequence, TemporalUnit};
use crate::codec::boxes::{self, NalConfig};
use crate::codec::vpx;
use crate::codec::{Coding, Framer, Output, PesUnit, framer, legacy_payload};
use crate::event::{CodecConfig, MediaFrame, VideoCodec, VideoConfig};

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

/// What AV1, VP9 and VP8 share: whole units, keyframes told by the first bytes, no reordering.
#[derive(Debug, Default)]
struct Whole {
    config: Option<VideoConfig>,
    joined: bool,
    outputs: VecDeque<Output>,
}

impl Whole {
    /// A picture, in pieces. With `config` it is a keyframe.
    fn push(&mut self, config: Option<VideoConfig>, pieces: &[&[u8]], time: Time) {
        let keyframe = config.is_some();
        if let Some(config) = config
            && self.config.as_ref() != Some(&config)
        {
            self.outputs.push_back(Output::Config(CodecConfig::Video(config.clone())));
            self.config = Some(config);
        }
        self.joined |= keyframe;
        if self.joined {
            let payload = legacy_payload(time.pts, pieces);
            self.outputs.push_back(Output::Frame(MediaFrame { pts: time.pts, dts: None, keyframe, payload }));
        }
    }

    fn problem(&mut self, reason: &'static str) {
        self.outputs.push_back(Output::Problem(reason));
    }
}

/// AV1: delimiters go, and every keyframe has its sequence header.
#[derive(Debug, Default)]
pub(super) struct Av1 {
    whole: Whole,
    /// The OBUs of the last record.
    header: Vec<u8>,
    scratch: Vec<u8>,
}

impl Elementary for Av1 {
    fn configure(&mut self, data: &Bytes) {
        let unit = av1::config_obus(data).and_then(TemporalUnit::parse);
        let Some(sequence) = unit.and_then(|unit| unit.sequence) else {
            // Four bytes without OBUs are legal: the header then comes in band.
            if data.len() != 4 {
                self.whole.problem("sequence_header_invalid");
            }
            return;
        };
        self.header.clear();
        sequence.write(&mut self.header);
    }

    fn push(&mut self, part: &Part, time: Time, jumped: bool) {
        self.whole.joined &= !jumped;
        let Some(unit) = TemporalUnit::parse(&part.data) else {
            self.whole.problem("av1_unit_invalid");
            return;
        };
        if unit.obus.is_empty() {
            return;
        }
        let mut config = None;
        let mut header = &[][..];
        if unit.keyframe.unwrap_or(part.keyframe) {
            let mut stored = &self.header[..];
            let sequence = unit.sequence.or_else(|| av1::next_obu(&mut stored));
            config = sequence.and_then(|obu| Sequence::parse(obu.body)).map(|sequence| sequence.config());
            match unit.sequence {
                Some(_) => {}
                None => header = &self.header,
            }
            if config.is_none() {
                self.whole.problem("sequence_header_missing");
            }
        }
        self.scratch.clear();
        unit.obus.iter().for_each(|obu| obu.write(&mut self.scratch));
        self.whole.push(config, &[header, &self.scratch], time);
    }

    fn poll(&mut self) -> Option<Output> {
        self.whole.outputs.pop_front()
    }
}

/// VP8 and VP9.
#[derive(Debug)]
pub(super) struct Vpx {
    whole: Whole,
    codec: VideoCodec,
    level: Option<u8>,
}

impl Vpx {
    pub(super) fn new(codec: VideoCodec) -> Self {
        Self { whole: Whole::default(), codec, level: None }
    }
}

impl Elementary for Vpx {
    fn configure(&mut self, data: &Bytes) {
        // vpcC with its version and flags: profile, then level.
        self.level = data.get(5).copied();
    }

    fn push(&mut self, part: &Part, time: Time, jumped: bool) {
        self.whole.joined &= !jumped;
        let head = if self.codec == VideoCodec::Vp9 { vpx::vp9(&part.data) } else { vpx::vp8(&part.data) };
        let Some(head) = head else {
            self.whole.problem("vpx_frame_invalid");
            return;
        };
        let config = if head.keyframe { head.config(self.codec, self.level) } else { None };
        self.whole.push(config, &[&part.data], time);
    }

    fn poll(&mut self) -> Option<Output> {
        self.whole.outputs.pop_front()
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
