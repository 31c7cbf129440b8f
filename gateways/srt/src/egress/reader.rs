//! One track on its way out: from its groups to a short queue of frames that are almost due.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use moqgate_core::{Forwarded, Frame, FrameSink, GroupConsumer, Timestamp, TrackConsumer};

use super::order::Order;

/// Most frames of a track between the model and the multiplexer. The queue never looks further ahead than its horizon;
/// this holds where time stamps lie.
const QUEUE_FRAMES: usize = 512;
/// And most bytes, beside one frame: half a second of a contribution feed.
const QUEUE_BYTES: usize = 4 << 20;
/// How far beyond what is due frames are taken from the model, microseconds: a timer's delay.
const AHEAD: i64 = 20_000;

/// A frame that was taken from the model.
#[derive(Debug)]
pub(crate) struct Queued {
    /// Decoding time, microseconds.
    pub(crate) decode: i64,
    /// Display time.
    pub(crate) pts: Timestamp,
    pub(crate) keyframe: bool,
    /// As in the model: display time, then the codec's bytes.
    pub(crate) payload: Bytes,
}

/// A subscription and what is queued of it.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) name: String,
    pub(crate) video: bool,
    track: TrackConsumer,
    group: Option<GroupConsumer>,
    /// Sequence of the last group that was begun.
    sequence: Option<u64>,
    /// Groups that begin before this are left out.
    floor: Timestamp,
    queue: Queue,
    ended: bool,
}

#[derive(Debug)]
struct Queue {
    frames: VecDeque<Queued>,
    bytes: usize,
    order: Order,
    /// Nothing more is taken once the last frame is decoded at or after this.
    limit: i64,
    /// The next frame begins a group.
    fresh: bool,
    last: i64,
}

impl FrameSink for Queue {
    type Error = Infallible;

    /// Whoever drains the queue also polls: nobody is woken.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let room = self.frames.len() < QUEUE_FRAMES && self.bytes < QUEUE_BYTES && self.last < self.limit;
        if room { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn accept(&mut self, frame: Frame) -> Result<(), Infallible> {
        let keyframe = std::mem::replace(&mut self.fresh, false);
        let pts = display_time(&frame);
        let decode = self.order.decode(i64::try_from(pts.as_micros()).unwrap_or(i64::MAX), keyframe);
        self.last = decode;
        self.bytes += frame.payload.len();
        self.frames.push_back(Queued { decode, pts, keyframe, payload: frame.payload });
        Ok(())
    }
}

/// The time that stands in the payload (a QUIC varint of microseconds) rules; not every publisher stamps its frames.
fn display_time(frame: &Frame) -> Timestamp {
    let Some(&first) = frame.payload.first() else { return frame.timestamp };
    let len = 1 << (first >> 6);
    let Some(bytes) = frame.payload.get(..len) else { return frame.timestamp };
    let value = bytes.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    let mask = u64::MAX >> (64 - 8 * len + 2);
    Timestamp::from_micros(value & mask)
}

impl Reader {
    pub(crate) fn new(
        name: String,
        video: bool,
        depth: usize,
        floor: Timestamp,
        track: TrackConsumer,
    ) -> Self {
        let queue = Queue {
            frames: VecDeque::new(),
            bytes: 0,
            order: Order::new(depth),
            limit: i64::MAX,
            fresh: true,
            last: i64::MIN,
        };
        Self { name, video, track, group: None, sequence: None, floor, queue, ended: false }
    }

    /// Takes frames up to `horizon`. Whether there are more in the queue than before, or the end was found; otherwise
    /// a waker is parked where more would come from.
    pub(crate) fn fill(&mut self, horizon: i64, cx: &mut Context<'_>) -> bool {
        let before = self.queue.frames.len();
        self.queue.limit = horizon.saturating_add(AHEAD);
        while !self.ended {
            let Some(group) = &mut self.group else {
                match self.track.poll_next_group(cx) {
                    Poll::Ready(Ok(Some(group))) => self.begin(group),
                    Poll::Ready(Ok(None) | Err(_)) => {
                        self.ended = true;
                        return true;
                    }
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
        self.queue.frames.len() > before
    }

    fn begin(&mut self, group: GroupConsumer) {
        if group.first_timestamp().is_some_and(|first| first < self.floor) {
            return;
        }
        self.queue.fresh = true;
        self.sequence = Some(group.sequence());
        self.group = Some(group);
    }

    /// Leaves everything out that begins before `floor`, and what was begun of it.
    pub(crate) fn skip_to(&mut self, floor: Timestamp) {
        self.floor = floor;
        if self.group.as_ref().and_then(GroupConsumer::first_timestamp).is_some_and(|first| first < floor) {
            self.group = None;
        }
    }

    /// Goes on with the newest group, if that is another one than the one at hand. When it begins.
    pub(crate) fn skip_to_newest(&mut self, cx: &mut Context<'_>) -> Option<Timestamp> {
        let mut newest = None;
        while let Poll::Ready(Ok(Some(group))) = self.track.poll_next_group(cx) {
            newest = Some(group);
        }
        let group = newest?;
        let first = group.first_timestamp();
        self.queue.fresh = true;
        self.sequence = Some(group.sequence());
        self.group = Some(group);
        first
    }

    /// The decoding time of the next frame.
    pub(crate) fn head(&self) -> Option<i64> {
        self.queue.frames.front().map(|frame| frame.decode)
    }

    /// The display time of the next frame.
    pub(crate) fn head_pts(&self) -> Option<Timestamp> {
        self.queue.frames.front().map(|frame| frame.pts)
    }

    pub(crate) fn pop(&mut self) -> Option<Queued> {
        let frame = self.queue.frames.pop_front()?;
        self.queue.bytes -= frame.payload.len();
        Some(frame)
    }

    /// How much of the track there is after the next frame, microseconds.
    pub(crate) fn backlog(&self) -> i64 {
        let newest = self.track.newest_timestamp().map(Timestamp::as_micros).unwrap_or_default();
        let next = self.head().unwrap_or(self.queue.last);
        i64::try_from(newest).unwrap_or(i64::MAX).saturating_sub(next)
    }

    /// Whether there is a group after the last one that was begun.
    pub(crate) fn is_behind(&self) -> bool {
        self.sequence
            .is_some_and(|sequence| self.track.newest_sequence().is_some_and(|newest| newest > sequence))
    }

    /// Nothing more will come, and all of it was taken.
    pub(crate) fn is_over(&self) -> bool {
        self.ended && self.queue.frames.is_empty()
    }
}
