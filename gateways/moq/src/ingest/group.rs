//! Moves the frames of one group stream into the model.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use moqgate_core::{Frame, GroupProducer, PushError, StreamCode, Timestamp};
use tokio::sync::oneshot;

use super::Shared;
use super::frames::Frames;
use super::subscriptions::{Arrival, OpenGroup};
use crate::transport::{ReadError, ReadFault, Reader, RecvStream};
use crate::wire::{DecodeError, GroupHead, stream_code};

/// Bytes of incomplete frames that one session may make us hold: two frames of the largest size. Streams beyond it are
/// given up; the flow control of the connection bounds each of them, but not their number.
const BUDGET_MAX: usize = 64 * 1024 * 1024;

/// Reads one stream, of which only the type has been read, to its end.
pub(super) async fn receive(shared: &Shared, mut reader: Reader) {
    let head = match reader.message::<GroupHead>().await {
        Ok(Some(head)) => head,
        Ok(None) | Err(ReadFault::Reset(_) | ReadFault::Lost) => return,
        Err(fault @ (ReadFault::Truncated | ReadFault::Decode(_))) => {
            tracing::debug!(%fault, "group stream without a head");
            return reader.stop(stream_code::MALFORMED_TRACK);
        }
    };
    let (answer, opened) = oneshot::channel();
    let known = shared.subscriptions.deliver(head.subscribe_id, Arrival::Group(head, answer)).await;
    let (true, Ok(group)) = (known, opened.await) else { return reader.stop(stream_code::CANCELLED) };
    let (stream, buffer) = reader.into_parts();
    let transfer = Transfer {
        shared,
        stream,
        frames: Frames::new(shared.link.version, buffer),
        share: Share { budget: &shared.budget, bytes: 0 },
        timescale: group.timescale,
    };
    transfer.run(group).await;
}

struct Transfer<'a> {
    shared: &'a Shared,
    stream: RecvStream,
    frames: Frames,
    share: Share<'a>,
    timescale: u64,
}

impl Transfer<'_> {
    async fn run(mut self, group: OpenGroup) {
        let OpenGroup { mut producer, cancelled, .. } = group;
        let ended = tokio::select! {
            biased;
            () = cancelled.cancelled() => Err(Fault::Unwanted),
            ended = self.pump(&mut producer) => ended,
        };
        let Err(fault) = ended else { return producer.finish() };
        let code = fault.code();
        tracing::trace!(sequence = producer.sequence(), %fault, "group ended early");
        producer.abort(StreamCode(code.into()));
        if fault.is_ours() {
            self.stream.stop(code);
        }
    }

    async fn pump(&mut self, producer: &mut GroupProducer) -> Result<(), Fault> {
        loop {
            while let Some((timestamp, payload)) = self.frames.poll().map_err(Fault::Malformed)? {
                let received = Instant::now();
                let timestamp = self.timestamp(timestamp, received)?;
                producer.push(Frame { timestamp, received, payload }).map_err(Fault::Refused)?;
            }
            self.share.set(self.frames.held())?;
            match self.stream.read().await {
                Ok(Some(chunk)) => self.frames.push(&chunk),
                Ok(None) if self.frames.is_between() => return Ok(()),
                Ok(None) => return Err(Fault::Truncated),
                Err(ReadError::Reset(code)) => return Err(Fault::Reset(code)),
                Err(ReadError::Lost) => return Err(Fault::Lost),
            }
        }
    }

    /// Versions without timestamps get the time of arrival.
    fn timestamp(&self, value: Option<u64>, received: Instant) -> Result<Timestamp, Fault> {
        match value {
            Some(value) => Timestamp::from_scale(value, self.timescale).ok_or(Fault::Timestamp),
            None => Ok(arrival(self.shared.base, received)),
        }
    }
}

/// The time of arrival, as a timestamp of a session's own timeline.
fn arrival(base: Instant, received: Instant) -> Timestamp {
    let micros = received.saturating_duration_since(base).as_micros();
    Timestamp::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// Why a group ended early.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("nobody reads it any more")]
    Unwanted,
    #[error("{0}")]
    Malformed(DecodeError),
    #[error("{0}")]
    Refused(PushError),
    #[error("timestamp out of range")]
    Timestamp,
    #[error("stream ended inside a frame")]
    Truncated,
    #[error("session holds too much of incomplete frames")]
    Budget,
    #[error("reset with {0:#x}")]
    Reset(u32),
    #[error("session over")]
    Lost,
}

impl Fault {
    /// What readers are told, and the peer unless it knows.
    fn code(&self) -> u32 {
        match self {
            Self::Unwanted | Self::Lost | Self::Refused(PushError::Closed) => stream_code::CANCELLED,
            Self::Malformed(DecodeError::TooLarge { .. }) | Self::Refused(PushError::FrameTooLarge) => {
                stream_code::FRAME_TOO_LARGE
            }
            Self::Malformed(_) => stream_code::MALFORMED_TRACK,
            Self::Refused(_) => stream_code::GROUP_TOO_LARGE,
            Self::Timestamp => stream_code::TIMESTAMP_MISMATCH,
            Self::Truncated => stream_code::WRONG_SIZE,
            Self::Budget => stream_code::TOO_FAR_BEHIND,
            Self::Reset(code) => *code,
        }
    }

    /// Whether the peer is still sending.
    fn is_ours(&self) -> bool {
        !matches!(self, Self::Truncated | Self::Reset(_) | Self::Lost)
    }
}

/// Bytes that a session holds of incomplete frames.
#[derive(Debug, Default)]
pub(super) struct Budget(AtomicUsize);

/// One stream's share of the budget, given back when dropped.
struct Share<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Share<'_> {
    fn set(&mut self, bytes: usize) -> Result<(), Fault> {
        let others = self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed).saturating_sub(self.bytes);
        self.budget.0.fetch_add(bytes, Ordering::Relaxed);
        self.bytes = bytes;
        if bytes > 0 && others.saturating_add(bytes) > BUDGET_MAX { Err(Fault::Budget) } else { Ok(()) }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_share_the_budget_and_give_it_back() {
        let budget = Budget::default();
        let mut first = Share { budget: &budget, bytes: 0 };
        let mut second = Share { budget: &budget, bytes: 0 };
        assert!(first.set(BUDGET_MAX - 10).is_ok());
        assert!(second.set(10).is_ok());
        assert!(second.set(11).is_err());
        assert!(first.set(5).is_ok());
        assert!(second.set(BUDGET_MAX - 5).is_ok());
        drop((first, second));
        assert_eq!(budget.0.into_inner(), 0);
    }
}
