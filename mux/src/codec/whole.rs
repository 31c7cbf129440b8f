//! Codings whose container gives whole pictures: AV1, VP9 and VP8. Their first bytes tell keyframes, and there is no
//! reordering.

use std::collections::VecDeque;

use bytes::Bytes;
use moqgate_core::Timestamp;

use super::av1::{self, Sequence, TemporalUnit};
use super::{Output, legacy_payload, vpx};
use crate::event::{CodecConfig, MediaFrame, VideoCodec, VideoConfig};

/// The largest scratch space that is kept between pictures.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// What they share.
#[derive(Debug, Default)]
struct Whole {
    config: Option<VideoConfig>,
    joined: bool,
    outputs: VecDeque<Output>,
}

impl Whole {
    /// A picture, in pieces. With `config` it is a keyframe.
    fn push(&mut self, config: Option<VideoConfig>, pieces: &[&[u8]], pts: Timestamp) {
        let keyframe = config.is_some();
        if let Some(config) = config
            && self.config.as_ref() != Some(&config)
        {
            self.outputs.push_back(Output::Config(CodecConfig::Video(config.clone())));
            self.config = Some(config);
        }
        self.joined |= keyframe;
        if self.joined {
            let payload = legacy_payload(pts, pieces);
            self.outputs.push_back(Output::Frame(MediaFrame { pts, dts: None, keyframe, payload }));
        }
    }

    fn problem(&mut self, reason: &'static str) {
        self.outputs.push_back(Output::Problem(reason));
    }
}

/// AV1 temporal units: delimiters go, and every keyframe has its sequence header.
#[derive(Debug, Default)]
pub(crate) struct Av1 {
    whole: Whole,
    /// The last sequence header, in band or beside the stream.
    header: Vec<u8>,
    scratch: Vec<u8>,
}

impl Av1 {
    /// Parameters from here on, as `av1C`.
    pub(crate) fn configure(&mut self, data: &Bytes) {
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

    /// Pictures are missing: nothing is passed until the next keyframe.
    pub(crate) fn lose(&mut self) {
        self.whole.joined = false;
    }

    /// Takes a temporal unit. `hint`: whether it is a keyframe, where no frame header says so.
    pub(crate) fn push(&mut self, data: &[u8], hint: bool, pts: Timestamp) {
        let Some(unit) = TemporalUnit::parse(data) else {
            self.whole.problem("av1_unit_invalid");
            return;
        };
        if unit.obus.is_empty() {
            return;
        }
        let mut config = None;
        let mut header = &[][..];
        if unit.keyframe.unwrap_or(hint) {
            let mut stored = &self.header[..];
            let sequence = unit.sequence.or_else(|| av1::next_obu(&mut stored));
            config = sequence.and_then(|obu| Sequence::parse(obu.body)).map(|sequence| sequence.config());
            if config.is_none() {
                self.whole.problem("sequence_header_missing");
            }
            match unit.sequence {
                Some(sequence) => {
                    self.header.clear();
                    sequence.write(&mut self.header);
                }
                None => header = &self.header,
            }
        }
        self.scratch.clear();
        unit.obus.iter().for_each(|obu| obu.write(&mut self.scratch));
        self.whole.push(config, &[header, &self.scratch], pts);
        if self.scratch.capacity() > SCRATCH_BYTES_MAX {
            self.scratch = Vec::new();
        }
    }

    /// The next finding.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.whole.outputs.pop_front()
    }
}

/// VP8 and VP9 frames.
#[derive(Debug)]
pub(crate) struct Vpx {
    whole: Whole,
    codec: VideoCodec,
    level: Option<u8>,
}

impl Vpx {
    pub(crate) fn new(codec: VideoCodec) -> Self {
        Self { whole: Whole::default(), codec, level: None }
    }

    /// The level that the container names.
    pub(crate) fn set_level(&mut self, level: Option<u8>) {
        self.level = level;
    }

    /// Pictures are missing: nothing is passed until the next keyframe.
    pub(crate) fn lose(&mut self) {
        self.whole.joined = false;
    }

    /// Takes a frame or superframe.
    pub(crate) fn push(&mut self, data: &[u8], pts: Timestamp) {
        let head = if self.codec == VideoCodec::Vp9 { vpx::vp9(data) } else { vpx::vp8(data) };
        let Some(head) = head else {
            self.whole.problem("vpx_frame_invalid");
            return;
        };
        let config = if head.keyframe { head.config(self.codec, self.level) } else { None };
        self.whole.push(config, &[data], pts);
    }

    /// The next finding.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.whole.outputs.pop_front()
    }
}
