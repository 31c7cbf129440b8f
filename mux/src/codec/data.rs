//! Streams that ride along verbatim: one frame per PES packet.

use std::collections::VecDeque;

use moqgate_core::Timestamp;

use super::{Framer, Output, PesUnit, legacy_payload};
use crate::event::{CodecConfig, DataConfig, DataKind, MediaFrame};

/// Passes packets on as they are.
#[derive(Debug)]
pub(crate) struct Data {
    kind: DataKind,
    announced: bool,
    last: Timestamp,
    outputs: VecDeque<Output>,
}

impl Data {
    pub(crate) fn new(kind: DataKind) -> Self {
        Self { kind, announced: false, last: Timestamp::ZERO, outputs: VecDeque::new() }
    }
}

impl Framer for Data {
    fn push(&mut self, pes: PesUnit<'_>) {
        if !self.announced {
            self.announced = true;
            self.outputs.push_back(Output::Config(CodecConfig::Data(DataConfig { kind: self.kind })));
        }
        if pes.damaged {
            self.outputs.push_back(Output::Problem("data_damaged"));
            return;
        }
        // Asynchronous data (bare KLV) has no time of its own: it belongs to the moment before it.
        let pts = pes.pts.unwrap_or(self.last);
        self.last = pts;
        if !pes.data.is_empty() {
            let payload = legacy_payload(pts, &[pes.data]);
            self.outputs.push_back(Output::Frame(MediaFrame { pts, dts: None, keyframe: true, payload }));
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn flush(&mut self) {}
}
