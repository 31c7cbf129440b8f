//! One track on its way out: from its groups to a short queue of frames.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use moqgate_core::{Forwarded, Frame, FrameSink, GroupConsumer, Timestamp, TrackConsumer};

use super::order::Order;

/// How much of a track may lie between the model and the exporter: what is charged and may still be lost with the
/// connection.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most frames.
    pub frames: usize,
    /// Most bytes, beside one frame.
    pub bytes: usize,
}

/// A frame that was taken from the model.
#[derive(Debug)]
pub struct Queued {
    /// Decoding time, microseconds, never after `pts`.
    pub decode: i64,
    /// Display time.
    pub pts: Timestamp,
    /// It begins a group.
    pub keyframe: bool,
    /// When it entered the model.
    pub received: Instant,
    /// As in the model: display time, then the codec's bytes.
    pub payload: Bytes,
}

/// A subscription and what is queued of it.
#[derive(Debug)]
pub struct Reader {
    name: String,
    video: bool,
    track: TrackConsumer,
    group: Option<GroupConsumer>,
    /// Sequence of the last group that was begun.
    sequence: Option<u64>,
    /// Groups that begin before this are left out.
    floor: Timestamp,
    /// Whether the group at hand is one of them is not known before its first frame is there.
    undecided: bool,
    queue: Queue,
    ended: bool,
}

#[derive(Debug)]
struct Queue {
    frames: VecDeque<Queued>,
    bytes: usize,
    bounds: Bounds,
    clock: fn() -> Instant,
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
        let room = self.frames.len() < self.bounds.frames && self.bytes < self.bounds.bytes;
        if room && self.last < self.limit { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn accept(&mut self, frame: Frame) -> Result<(), Infallible> {
        let keyframe = std::mem::take(&mut self.fresh);
        let pts = display_time(&frame);
        let decode = self.order.decode(i64::try_from(pts.as_micros()).unwrap_or(i64::MAX), keyframe);
        self.last = decode;
        self.bytes += frame.payload.len();
        let Frame { received, payload, .. } = frame;
        self.frames.push_back(Queued { decode, pts, keyframe, received, payload });
        Ok(())
    }

    fn now(&self) -> Option<Instant> {
        Some((self.clock)())
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

/// Whether a group is known to begin before `floor`.
fn is_before(group: &GroupConsumer, floor: Timestamp) -> bool {
    group.first_timestamp().is_some_and(|first| first < floor)
}

impl Reader {
    /// Reads `track`. `video`: the frames of other tracks begin beside this one's. `depth`: pictures by which the order
    /// of decoding and showing differ, as far as is known. Groups that begin before `floor` are left out.
    pub fn new(
        name: String,
        video: bool,
        depth: usize,
        floor: Timestamp,
        bounds: Bounds,
        clock: fn() -> Instant,
        track: TrackConsumer,
    ) -> Self {
        let queue = Queue {
            frames: VecDeque::new(),
            bytes: 0,
            bounds,
            clock,
            order: Order::new(depth),
            limit: i64::MAX,
            fresh: true,
            last: i64::MIN,
        };
        Self { name, video, track, group: None, sequence: None, floor, undecided: false, queue, ended: false }
    }

    /// The track's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the track shows pictures.
    pub fn is_video(&self) -> bool {
        self.video
    }

    /// Takes frames until one is decoded at `horizon` (microseconds) or later. Whether there are more in the queue than
    /// before, or the end was found; otherwise a waker is parked where more would come from.
    pub fn fill(&mut self, horizon: i64, cx: &mut Context<'_>) -> bool {
        let before = self.queue.frames.len();
        self.queue.limit = horizon;
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
            if self.undecided {
                if group.poll_readable(cx).is_pending() {
                    break;
                }
                self.undecided = false;
                if is_before(group, self.floor) {
                    self.group = None;
                    continue;
                }
            }
            match group.poll_forward(cx, &mut self.queue) {
                Poll::Ready(Ok(Forwarded::Frames(_))) => {}
                Poll::Ready(Ok(Forwarded::End) | Err(_)) => self.group = None,
                Poll::Pending => break,
            }
        }
        self.queue.frames.len() > before
    }

    fn begin(&mut self, group: GroupConsumer) {
        self.undecided = group.first_timestamp().is_none();
        if !is_before(&group, self.floor) {
            self.read(group);
        }
    }

    fn read(&mut self, group: GroupConsumer) {
        self.queue.fresh = true;
        self.sequence = Some(group.sequence());
        self.group = Some(group);
    }

    /// Leaves everything out that begins before `floor`, and what was begun of it.
    pub fn skip_to(&mut self, floor: Timestamp) {
        self.floor = floor;
        if self.group.as_ref().is_some_and(|group| is_before(group, floor)) {
            self.group = None;
        }
    }

    /// Goes on with the newest group, if that is another one than the one at hand. When it begins.
    pub fn skip_to_newest(&mut self, cx: &mut Context<'_>) -> Option<Timestamp> {
        let mut newest = None;
        while let Poll::Ready(Ok(Some(group))) = self.track.poll_next_group(cx) {
            newest = Some(group);
        }
        let group = newest?;
        self.undecided = false;
        let first = group.first_timestamp();
        self.read(group);
        first
    }

    /// Leaves out the rest of the group at hand, and goes on with the next one. Whether there was one at hand.
    pub fn leave_group(&mut self) -> bool {
        self.group.take().is_some()
    }

    /// Says to the publisher that this reader would do better with a keyframe.
    pub fn request_keyframe(&self) {
        self.track.request_keyframe();
    }

    /// The next frame of the queue.
    pub fn head(&self) -> Option<&Queued> {
        self.queue.frames.front()
    }

    /// Takes the next frame off the queue.
    pub fn pop(&mut self) -> Option<Queued> {
        let frame = self.queue.frames.pop_front()?;
        self.queue.bytes -= frame.payload.len();
        Some(frame)
    }

    /// How much of the track there is after the next frame, microseconds.
    pub fn backlog(&self) -> i64 {
        let newest = self.track.newest_timestamp().map(Timestamp::as_micros).unwrap_or_default();
        let next = self.head().map_or(self.queue.last, |frame| frame.decode);
        i64::try_from(newest).unwrap_or(i64::MAX).saturating_sub(next)
    }

    /// Whether a frame was taken from the model.
    pub(super) fn has_begun(&self) -> bool {
        self.queue.last > i64::MIN
    }

    /// Whether there is a group after the last one that was begun.
    pub fn is_behind(&self) -> bool {
        self.sequence
            .is_some_and(|sequence| self.track.newest_sequence().is_some_and(|newest| newest > sequence))
    }

    /// Nothing more will come, and all of it was taken.
    pub fn is_over(&self) -> bool {
        self.ended && self.queue.frames.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Waker;
    use std::time::{Duration, SystemTime};

    use moqgate_core::{
        Credential, Direction, Gate, OpenAdmission, Origin, OriginConfig, Path, Protocol, PublishOptions,
        Request, Session, Subscription, TrackInfo,
    };

    use super::*;

    const PATH: &str = "live/a";

    #[expect(clippy::disallowed_methods, reason = "a test is where time comes from")]
    fn now() -> Instant {
        Instant::now()
    }

    /// What is there at once.
    fn at_once<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it waits"),
        }
    }

    fn session(gate: &Gate) -> Session {
        let path = Path::new(PATH).expect("a right path");
        let peer = ([127, 0, 0, 1], 1).into();
        let request = Request {
            protocol: Protocol::Srt,
            direction: Direction::Both,
            path,
            credential: Credential::None,
            peer,
        };
        let grant = at_once(gate.admit(&request)).expect("open");
        gate.open(request, grant, SystemTime::UNIX_EPOCH, None)
    }

    /// A group may be there before its first frame is: only then is known whether it is left out, and costs nothing.
    #[test]
    fn what_begins_before_the_floor_is_not_charged_however_late_it_shows() {
        let gate = Gate::new(Origin::new(OriginConfig::default()), Arc::new(OpenAdmission));
        let path = Path::new(PATH).expect("a right path");
        let (publisher, player) = (session(&gate), session(&gate));
        let options = PublishOptions::default();
        let broadcast = publisher.publisher().publish(&path, options, now()).expect("nobody else is there");
        let (name, max_age) = ("sound".into(), Duration::from_secs(1));
        let info = TrackInfo { name, timescale: 1_000_000, priority: 0, max_age };
        let track = broadcast.create_track(info).expect("a new track");
        let watched = at_once(player.consumer().wait(&path)).expect("it is published");
        let read = at_once(watched.subscribe("sound", Subscription::default())).expect("there is one");
        let (floor, bounds) = (Timestamp::from_micros(200_000), Bounds { frames: 8, bytes: 1 << 20 });
        let mut reader = Reader::new("sound".to_owned(), false, 0, floor, bounds, now, read);
        let mut cx = Context::from_waker(Waker::noop());
        for (micros, taken) in [(183_000, 0), (204_000, 1)] {
            let mut group = track.append_group().expect("it is open");
            assert!(!reader.fill(i64::MAX, &mut cx), "there is nothing yet");
            let payload = Bytes::from_static(b"sound");
            let timestamp = Timestamp::from_micros(micros);
            group.push(Frame { timestamp, received: now(), payload }).expect("it is open");
            group.finish();
            reader.fill(i64::MAX, &mut cx);
            let charged: u64 = gate.origin().usage(None).usage.iter().map(|row| row.egress.frames).sum();
            assert_eq!((charged, reader.queue.frames.len()), (taken, taken as usize), "at {micros}");
        }
    }
}
