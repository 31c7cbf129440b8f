//! Audio whose container gives whole frames and their parameters.

use std::collections::VecDeque;

use moqgate_core::Timestamp;

use super::audio::clock::Clock;
use super::{Output, legacy_payload};
use crate::event::{AudioConfig, CodecConfig, MediaFrame};

/// Times and wraps frames that need no cutting.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    clock: Clock,
    config: Option<AudioConfig>,
    outputs: VecDeque<Output>,
}

impl Packets {
    /// Parameters from here on; tells them if they are new.
    pub(crate) fn configure(&mut self, mut config: AudioConfig) {
        config.jitter = config.frame_duration.max(config.jitter);
        if self.config.as_ref() != Some(&config) {
            self.outputs.push_back(Output::Config(CodecConfig::Audio(config.clone())));
            self.config = Some(config);
        }
    }

    /// Whether parameters are known.
    pub(crate) fn is_configured(&self) -> bool {
        self.config.is_some()
    }

    /// Takes a frame of `samples` at `rate` hertz whose container says that it plays at `time`. Frames without
    /// parameters cannot be played and are left out.
    pub(crate) fn push(&mut self, data: &[u8], time: Timestamp, samples: u32, rate: u32) {
        if self.config.is_none() || data.is_empty() {
            return;
        }
        self.clock.sync(time);
        let pts = self.clock.now().unwrap_or(time);
        self.clock.advance(samples, rate);
        let payload = legacy_payload(pts, &[data]);
        self.outputs.push_back(Output::Frame(MediaFrame { pts, dts: None, keyframe: true, payload }));
    }

    /// Sound is missing before the next frame.
    pub(crate) fn lose(&mut self) {
        self.clock.lose();
    }

    /// Something was wrong and survived.
    pub(crate) fn problem(&mut self, reason: &'static str) {
        self.outputs.push_back(Output::Problem(reason));
    }

    /// The next finding.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}
