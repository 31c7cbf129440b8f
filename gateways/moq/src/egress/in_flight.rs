//! One group on its way to one subscriber.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use moqgate_core::{ForwardError, Forwarded, GroupConsumer, Timestamp};
use tokio::time::Instant;

use super::sink::{DatagramSink, StreamSink};
use crate::link::Link;
use crate::transport::{SendStream, SessionLost, WriteError};
use crate::wire::{GroupHead, stream_code};

/// What the groups of one subscription have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Feeding {
    pub(super) subscribe_id: u64,
    pub(super) timescale: u64,
    /// Subscriber priority, higher first.
    pub(super) priority: u8,
}

/// A group that is being sent.
pub(super) struct InFlight {
    group: GroupConsumer,
    frame_start: u64,
    state: State,
    /// The priority in QUIC, once there is a stream.
    priority: i32,
    /// Never polled.
    fresh: bool,
    /// Since when QUIC takes less than there is.
    blocked: Option<Instant>,
    /// How far the track was when a newer group came; `None` while this is the newest.
    superseded_at: Option<Timestamp>,
}

enum State {
    /// The stream is asked for. Takes as long as the peer's credit.
    Opening(BoxFuture<'static, Result<SendStream, SessionLost>>),
    Sending(StreamSink),
    Datagram,
    Done,
}

/// What became of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// All of it is in QUIC's hands.
    Sent,
    /// The peer does not want it, or its publisher gave it up.
    Dropped,
}

impl InFlight {
    /// Begins with frame `frame_start` of the group.
    pub(super) fn new(link: &Link, mut group: GroupConsumer, frame_start: u64, feeding: Feeding) -> Self {
        group.skip_to(usize::try_from(frame_start).unwrap_or(usize::MAX));
        let state = if group.is_datagram() {
            State::Datagram
        } else {
            let transport = link.transport.clone();
            State::Opening(async move { transport.open_uni().await }.boxed())
        };
        Self {
            group,
            frame_start,
            state,
            priority: priority(feeding.priority, feeding.subscribe_id, 0),
            fresh: true,
            blocked: None,
            superseded_at: None,
        }
    }

    pub(super) fn sequence(&self) -> u64 {
        self.group.sequence()
    }

    /// Stops after `count` frames.
    pub(super) fn limit(&mut self, count: u64) {
        self.group.limit(usize::try_from(count).unwrap_or(usize::MAX));
    }

    /// A newer group has come; `newest` is how far the track is now. Only the first time counts.
    pub(super) fn supersede(&mut self, newest: Timestamp) {
        self.superseded_at.get_or_insert(newest);
    }

    /// Places the group among the others of its subscription that are still under way, 0 the newest.
    pub(super) fn set_rank(&mut self, rank: usize, feeding: Feeding) {
        let priority = priority(feeding.priority, feeding.subscribe_id, rank);
        if std::mem::replace(&mut self.priority, priority) == priority {
            return;
        }
        if let State::Sending(sink) = &self.state {
            sink.set_priority(priority);
        }
    }

    /// Whether it has come since the groups were driven last.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Whether it waits for the peer, and has for at least so long.
    pub(super) fn is_blocked_for(&self, patience: Duration) -> bool {
        self.blocked.is_some_and(|since| since.elapsed() >= patience)
    }

    /// By how much, in media time, it has fallen behind. `None` for the newest, which never grows old.
    pub(super) fn age(&self, newest: Timestamp) -> Option<Duration> {
        self.superseded_at.map(|at| newest.checked_sub(at).unwrap_or_default())
    }

    /// Whether the peer has seen nothing of it.
    pub(super) fn is_unopened(&self) -> bool {
        matches!(self.state, State::Opening(_))
    }

    /// Gives the group up.
    pub(super) fn reset(&mut self, code: u32) {
        if let State::Sending(sink) = std::mem::replace(&mut self.state, State::Done) {
            sink.reset(code);
        }
    }

    /// Sends what is there. Ready when the group is over, one way or the other.
    pub(super) fn poll(
        &mut self,
        link: &Link,
        feeding: Feeding,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Fate, SessionLost>> {
        self.fresh = false;
        loop {
            match &mut self.state {
                State::Opening(opening) => {
                    self.blocked.get_or_insert_with(Instant::now);
                    let Poll::Ready(stream) = Pin::new(opening).poll(cx) else { return Poll::Pending };
                    let sink = self.begin(link, feeding, stream?);
                    self.state = State::Sending(sink);
                }
                State::Sending(_) => return self.poll_stream(cx),
                State::Datagram => return self.poll_datagram(link, feeding, cx).map(Ok),
                State::Done => return Poll::Ready(Ok(Fate::Dropped)),
            }
        }
    }

    fn begin(&self, link: &Link, feeding: Feeding, stream: SendStream) -> StreamSink {
        stream.set_priority(self.priority);
        let head = GroupHead {
            subscribe_id: feeding.subscribe_id,
            sequence: self.sequence(),
            frame_start: self.frame_start,
        };
        StreamSink::group(stream, link.version, feeding.timescale, head)
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fate, SessionLost>> {
        let State::Sending(sink) = &mut self.state else { return Poll::Ready(Ok(Fate::Dropped)) };
        let over = loop {
            match self.group.poll_forward(cx, sink) {
                Poll::Ready(Ok(Forwarded::Frames(_))) => {}
                Poll::Ready(other) => break Some(other),
                Poll::Pending => break None,
            }
        };
        // Also when there is nothing new: the head, or what was blocked.
        let flushed = sink.poll_flush(cx);
        self.blocked = sink.is_blocked().then(|| self.blocked.unwrap_or_else(Instant::now));
        match (over, flushed) {
            (_, Poll::Ready(Err(WriteError::Lost))) => Poll::Ready(Err(SessionLost)),
            (Some(Err(ForwardError::Sink(WriteError::Lost))), _) => Poll::Ready(Err(SessionLost)),
            (_, Poll::Ready(Err(WriteError::Stopped(_)))) => self.end(None),
            (Some(Ok(_)), Poll::Ready(Ok(()))) => {
                if let State::Sending(sink) = std::mem::replace(&mut self.state, State::Done) {
                    sink.finish();
                }
                Poll::Ready(Ok(Fate::Sent))
            }
            (Some(Err(ForwardError::Aborted(code))), _) => self.end(u32::try_from(code.0).ok()),
            (Some(Err(_)), _) => self.end(None),
            (Some(Ok(_)) | None, _) => Poll::Pending,
        }
    }

    fn end(&mut self, code: Option<u32>) -> Poll<Result<Fate, SessionLost>> {
        self.reset(code.unwrap_or(stream_code::CANCELLED));
        Poll::Ready(Ok(Fate::Dropped))
    }

    fn poll_datagram(&mut self, link: &Link, feeding: Feeding, cx: &mut Context<'_>) -> Poll<Fate> {
        // Datagrams do not exist before 05, and there is no other way to pass them on.
        if !link.version.has_tracks() {
            return Poll::Ready(Fate::Dropped);
        }
        let mut sink = DatagramSink {
            transport: &link.transport,
            subscribe_id: feeding.subscribe_id,
            sequence: self.group.sequence(),
            timescale: feeding.timescale,
        };
        match self.group.poll_forward(cx, &mut sink) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Forwarded::Frames(_))) => {
                link.counters.datagrams_sent.bump();
                Poll::Ready(Fate::Sent)
            }
            Poll::Ready(Ok(Forwarded::End) | Err(_)) => {
                link.counters.datagrams_dropped.bump();
                Poll::Ready(Fate::Dropped)
            }
        }
    }
}

/// QUIC priority of a group: the subscriber's priority first, then the older subscription, then the newer group. All
/// of them lie below control streams. Past 255 the last two make no difference any more.
pub(super) fn priority(subscriber: u8, subscribe_id: u64, rank: usize) -> i32 {
    let seniority = 255 - i32::try_from(subscribe_id.min(255)).unwrap_or(255);
    let newness = 255 - i32::try_from(rank.min(255)).unwrap_or(255);
    (i32::from(subscriber) << 16) | (seniority << 8) | newness
}

#[cfg(test)]
mod tests {
    use super::priority;
    use crate::transport::PRIORITY_CONTROL;

    #[test]
    fn priorities_rank_as_the_protocol_says() {
        let order = [
            PRIORITY_CONTROL,
            priority(255, 9, 0),
            priority(100, 0, 0),
            priority(100, 0, 1),
            priority(100, 0, 4000),
            priority(100, 3, 0),
            priority(100, 3, 1),
            priority(0, 0, 0),
        ];
        assert!(order.is_sorted_by(|sooner, later| sooner > later), "{order:?}");
        assert_eq!(priority(0, u64::MAX, usize::MAX), 0);
    }
}
