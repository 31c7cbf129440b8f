//! Payloads that the exporters of many receivers have in common.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::export::Video;

/// Frames whose payloads are kept: receivers of a live track are at its newest ones, a few apart by the order in which
/// their tasks run. Who is further behind writes payloads of its own.
const FRAMES: usize = 16;

/// The payloads of the newest frames of one track. An [`Exporter`](super::Exporter) that is given it puts a frame over
/// packets only where no other has done so; receivers then hold the same bytes, for resending as well.
#[derive(Debug, Default)]
pub struct Payloads(Mutex<VecDeque<Spread>>);

/// A frame that was put over packets.
#[derive(Clone, Debug)]
pub(super) struct Spread {
    /// The frame as it came. It is held, so that its memory is no other frame's.
    pub(super) frame: Bytes,
    pub(super) keyframe: bool,
    /// What was put in front of it depends on that.
    pub(super) video: Option<Video>,
    /// Largest payload.
    pub(super) most: usize,
    pub(super) payloads: Arc<[Bytes]>,
    /// What its parameter sets say about reordering.
    pub(super) declared: Option<Option<u8>>,
}

impl Spread {
    /// Whether `frame`, treated like that, has these payloads.
    fn is_of(&self, frame: &Bytes, keyframe: bool, video: Option<&Video>, most: usize) -> bool {
        self.frame.as_ptr() == frame.as_ptr()
            && self.frame.len() == frame.len()
            && (self.keyframe, self.most) == (keyframe, most)
            && self.video.as_ref() == video
    }
}

impl Payloads {
    /// What another exporter has made of the frame.
    pub(super) fn find(
        &self,
        frame: &Bytes,
        keyframe: bool,
        video: Option<&Video>,
        most: usize,
    ) -> Option<Spread> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().rev().find(|spread| spread.is_of(frame, keyframe, video, most)).cloned()
    }

    pub(super) fn keep(&self, spread: Spread) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= FRAMES {
            known.pop_front();
        }
        known.push_back(spread);
    }
}
