//! The ingress door.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Waker,
};

use super::{End, Entered, GROUP_BYTES_MAX, GROUP_FRAMES_MAX, GroupShared, StreamCode};
use crate::{BroadcastInfo, Frame, track::TrackShared, usage::Charge, waiters::wake_all};

/// The writing half of a group. Dropping it without [`finish`](Self::finish) aborts the group.
#[derive(Debug)]
pub struct GroupProducer {
    group: Arc<GroupShared>,
    track: Arc<TrackShared>,
    info: Arc<BroadcastInfo>,
    woken: Vec<Waker>,
}

/// Why a frame was not taken. Nothing was charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The group, its track or its broadcast has ended.
    #[error("the group has ended")]
    Closed,
    /// The payload is larger than 32 MiB.
    #[error("a frame may have at most {GROUP_BYTES_MAX} bytes")]
    FrameTooLarge,
    /// The group holds 8192 frames, or 32 MiB with this one. Open another.
    #[error("the group is full")]
    GroupFull,
}

impl GroupProducer {
    pub(crate) fn new(group: Arc<GroupShared>, track: Arc<TrackShared>, info: Arc<BroadcastInfo>) -> Self {
        Self { group, track, info, woken: Vec::new() }
    }

    /// The number of the group in its track.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.group.sequence
    }

    /// Payload bytes pushed so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.group.bytes()
    }

    /// Appends a frame for every reader to see, and charges it as ingress.
    ///
    /// # Errors
    /// [`PushError`]: the frame was not taken and not charged.
    pub fn push(&mut self, frame: Frame) -> Result<(), PushError> {
        let bytes = frame.payload.len();
        if bytes > GROUP_BYTES_MAX {
            return Err(PushError::FrameTooLarge);
        }
        let (timestamp, received_micros) = (frame.timestamp, self.track.micros(frame.received));
        let first = {
            let mut state = self.group.lock();
            let held = self.group.bytes();
            if state.end.is_some() {
                return Err(PushError::Closed);
            }
            if state.frames.len() >= GROUP_FRAMES_MAX || held + bytes > GROUP_BYTES_MAX {
                return Err(PushError::GroupFull);
            }
            let first = state.frames.is_empty();
            if first {
                self.group.first_timestamp.store(timestamp.as_micros(), Relaxed);
            }
            self.group.bytes.store(held + bytes, Relaxed);
            state.frames.push(Entered { frame, received_micros });
            state.waiters.take(&mut self.woken);
            first
        };
        self.info.meter.charge(Charge { bytes, group: first, datagram: self.group.datagram });
        self.track.pushed(bytes, timestamp, received_micros, &mut self.woken);
        wake_all(&mut self.woken);
        Ok(())
    }

    /// Marks the group as complete.
    pub fn finish(mut self) {
        self.end(End::Finished);
    }

    /// Ends the group early and tells readers why.
    pub fn abort(mut self, code: StreamCode) {
        self.end(End::Aborted(code));
    }

    fn end(&mut self, end: End) {
        {
            let mut state = self.group.lock();
            if state.end.is_some() {
                return;
            }
            state.end = Some(end);
            state.waiters.take(&mut self.woken);
        }
        wake_all(&mut self.woken);
    }
}

impl Drop for GroupProducer {
    fn drop(&mut self) {
        self.end(End::Aborted(StreamCode::CANCELLED));
    }
}
