//! One track on its way out: from its groups to a short queue of frames.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use moqgate_core::{Forwarded, Frame, FrameSink, GroupConsumer, Timestamp, TrackConsumer};

/// Most frames of a track between the model and the socket: what is charged and may still be lost with the connection.
const QUEUE_FRAMES: usize = 32;
/// And most bytes, beside one frame.
const QUEUE_BYTES: usize = 1 << 20;

/// A frame that was taken from the model.
#[derive(Debug)]
pub(super) struct Queued {
    /// When it is shown.
    pub(super) pts: Timestamp,
    pub(super) keyframe: bool,
    /// As in the model: display time, then the codec's bytes.
    pub(super) payload: Bytes,
}

/// A subscription and what is queued of it.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) name: String,
    pub(super) video: bool,
    track: TrackConsumer,
    group: Option<GroupConsumer>,
    /// Groups that begin before this are left out.
    floor: Timestamp,
    queue: Queue,
    ended: bool,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Queued>,
    bytes: usize,
    /// The next frame begins a group.
    fresh: bool,
    last: Timestamp,
}

impl FrameSink for Queue {
    type Error = Infallible;

    /// Whoever drains the queue also polls: nobody is woken.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let room = self.frames.len() < QUEUE_FRAMES && self.bytes < QUEUE_BYTES;
        if room { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn accept(&mut self, frame: Frame) -> Result<(), Infallible> {
        let keyframe = std::mem::take(&mut self.fresh);
        let pts = display_time(&frame);
        self.last = pts;
        self.bytes += frame.payload.len();
        self.frames.push_back(Queued { pts, keyframe, payload: frame.payload });
        Ok(())
    }
}

/// The time that stands in the payload (a QUIC varint of microseconds) rules; not every publisher stamps its frames.
fn display_time(frame: &Frame) -> Timestamp {
    let Some(&first) = frame.payload.first() else { return frame.timestamp };
    let len = 1 << (first >> 6);
    let Some(bytes) = frame.payload.get(..len) else { return frame.timestamp };
    let value = bytes.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    Timestamp::from_micros(value & u64::MAX >> (64 - 8 * len + 2))
}

impl Reader {
    pub(super) fn new(name: String, video: bool, floor: Timestamp, track: TrackConsumer) -> Self {
        Self { name, video, track, group: None, floor, queue: Queue::default(), ended: false }
    }

    /// Takes what there is room for. Whether anything is queued, or the end was found; otherwise a waker is parked where
    /// more would come from.
    pub(super) fn fill(&mut self, cx: &mut Context<'_>) -> bool {
        let was_ended = self.ended;
        while !self.ended {
            let Some(group) = &mut self.group else {
                match self.track.poll_next_group(cx) {
                    Poll::Ready(Ok(Some(group))) => self.begin(group),
                    Poll::Ready(Ok(None) | Err(_)) => self.ended = true,
                    Poll::Pending => break,
                }
                continue;
            };
            match group.poll_forward(cx, &mut self.queue) {
                Poll::Ready(Ok(Forwarded::Frames(_))) => {}
                Poll::Ready(Ok(Forwarded::End) | Err(_)) => self.group = None,
                Poll::Pending => break,
            }
        }
        !self.queue.frames.is_empty() || self.ended != was_ended
    }

    fn begin(&mut self, group: GroupConsumer) {
        if group.first_timestamp().is_some_and(|first| first < self.floor) {
            return;
        }
        self.queue.fresh = true;
        self.group = Some(group);
    }

    /// Leaves everything out that begins before `floor`, and what was begun of it.
    pub(super) fn skip_to(&mut self, floor: Timestamp) {
        self.floor = floor;
        if self.group.as_ref().and_then(GroupConsumer::first_timestamp).is_some_and(|first| first < floor) {
            self.group = None;
        }
    }

    /// Goes on with the newest group, if that is another one than the one at hand. When it begins.
    pub(super) fn skip_to_newest(&mut self, cx: &mut Context<'_>) -> Option<Timestamp> {
        let mut newest = None;
        while let Poll::Ready(Ok(Some(group))) = self.track.poll_next_group(cx) {
            newest = Some(group);
        }
        let group = newest?;
        let first = group.first_timestamp();
        self.queue.fresh = true;
        self.group = Some(group);
        first
    }

    /// The display time of the next frame.
    pub(super) fn head(&self) -> Option<Timestamp> {
        self.queue.frames.front().map(|frame| frame.pts)
    }

    pub(super) fn pop(&mut self) -> Option<Queued> {
        let frame = self.queue.frames.pop_front()?;
        self.queue.bytes -= frame.payload.len();
        Some(frame)
    }

    /// How much of the track there is after the next frame, microseconds.
    pub(super) fn backlog(&self) -> u64 {
        let newest = self.track.newest_timestamp().unwrap_or(Timestamp::ZERO).as_micros();
        newest.saturating_sub(self.head().unwrap_or(self.queue.last).as_micros())
    }

    /// Whether there is a group after the one at hand.
    pub(super) fn is_behind(&self) -> bool {
        let at_hand = self.group.as_ref().map(GroupConsumer::sequence);
        at_hand.is_some_and(|sequence| self.track.newest_sequence().is_some_and(|newest| newest > sequence))
    }

    /// Nothing more will come, and all of it was taken.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.queue.frames.is_empty()
    }
}
