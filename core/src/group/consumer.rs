//! The egress door.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use super::{End, Entered, GROUP_FRAMES_MAX, GroupShared, StreamCode};
use crate::{
    FrameSink, Timestamp,
    time::micros_since,
    usage::{Account, Charge, Payer},
    waiters::Seat,
};

/// The reading half of a group.
///
/// With a thousand viewers the state of each is in no cache, and so it is one line of memory: numbers are as short as
/// groups are.
#[derive(Debug)]
#[repr(align(64))]
pub struct GroupConsumer {
    group: Arc<GroupShared>,
    account: Account,
    seat: Option<Seat>,
    /// Next frame to hand over.
    index: u16,
    /// First frame not to hand over.
    limit: u16,
    /// First frame to measure: what lay there before the reader came says nothing of how fast frames pass.
    fresh: u16,
    charged_group: bool,
}

const _: () = assert!(GROUP_FRAMES_MAX < ALL as usize);

/// More frames than a group has.
const ALL: u16 = u16::MAX;

/// What a call of [`GroupConsumer::forward`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// So many frames were handed over, at least one, and more may come.
    Frames(usize),
    /// The group is complete and all of it was handed over.
    End,
}

/// Why a group could not be forwarded to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError<E> {
    /// The sink takes no more.
    #[error("the sink takes no more: {0}")]
    Sink(E),
    /// The group ended early.
    #[error("the group ended early: {0}")]
    Aborted(StreamCode),
}

enum Next {
    Frame(Entered),
    End,
    Aborted(StreamCode),
    Wait,
}

impl GroupConsumer {
    pub(crate) fn new(group: Arc<GroupShared>, payer: Arc<Payer>, fetched: bool) -> Self {
        let account = Account::new(payer);
        let fresh = if account.is_measured() { 0 } else { ALL };
        // A fetched group bumps frames and bytes, not groups.
        Self { group, account, seat: None, index: 0, limit: ALL, fresh, charged_group: fetched }
    }

    /// What is there now was there before the reader came.
    pub(crate) fn joined(mut self) -> Self {
        self.fresh = self.fresh.max(short(self.frame_count()));
        self
    }

    /// The number of the group in its track.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.group.sequence
    }

    /// When the first frame is presented, once there is one.
    #[must_use]
    pub fn first_timestamp(&self) -> Option<Timestamp> {
        self.group.first_timestamp()
    }

    /// Whether the publisher sent the group as a datagram, which is then also the only way to pass it on.
    #[must_use]
    pub fn is_datagram(&self) -> bool {
        self.group.datagram
    }

    /// Whether the group is complete or was aborted.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.group.lock().end.is_some()
    }

    /// How many frames are there now.
    #[must_use]
    pub fn frame_count(&self) -> usize {
        self.group.lock().frames.len()
    }

    /// Skips the frames before `index`.
    pub fn skip_to(&mut self, index: usize) {
        self.index = self.index.max(short(index));
    }

    /// Stops before frame `count`, as if the group ended there.
    pub fn limit(&mut self, count: usize) {
        self.limit = short(count);
    }

    /// Hands over every frame that is there, waiting for at least one or for the end, and charges each as egress in
    /// the moment in which the sink accepted it.
    ///
    /// Dropping the future before it is ready loses nothing: what was accepted is charged, what was not is handed over
    /// by the next call.
    ///
    /// # Errors
    /// [`ForwardError::Sink`] when the sink takes no more, [`ForwardError::Aborted`] when the group ended early.
    pub async fn forward<S: FrameSink>(&mut self, sink: &mut S) -> Result<Forwarded, ForwardError<S::Error>> {
        poll_fn(|cx| self.poll_forward(cx, sink)).await
    }

    /// The poll form of [`forward`](Self::forward).
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn poll_forward<S: FrameSink>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut S,
    ) -> Poll<Result<Forwarded, ForwardError<S::Error>>> {
        self.poll_through::<S, true>(cx, sink)
    }

    /// As [`poll_forward`](Self::poll_forward), without charging and measuring: what a benchmark compares with.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    #[cfg(feature = "bench")]
    pub fn poll_forward_uncounted<S: FrameSink>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut S,
    ) -> Poll<Result<Forwarded, ForwardError<S::Error>>> {
        self.poll_through::<S, false>(cx, sink)
    }

    fn poll_through<S: FrameSink, const COUNTED: bool>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut S,
    ) -> Poll<Result<Forwarded, ForwardError<S::Error>>> {
        let mut count = 0;
        let mut now = None;
        loop {
            let ready = sink.poll_ready(cx).map_err(ForwardError::Sink)?;
            if ready.is_pending() {
                return progress(count);
            }
            match self.next(cx) {
                Next::Frame(Entered { frame, received_micros }) => {
                    let (bytes, received) = (frame.payload.len(), frame.received);
                    sink.accept(frame).map_err(ForwardError::Sink)?;
                    if COUNTED {
                        self.accepted(bytes);
                        if self.index >= self.fresh
                            && let Some(now) = *now.get_or_insert_with(|| sink.now())
                        {
                            self.account.note(received_micros, micros_since(received, now));
                        }
                    }
                    self.index += 1;
                    count += 1;
                }
                Next::End if count == 0 => return Poll::Ready(Ok(Forwarded::End)),
                Next::Aborted(code) if count == 0 => return Poll::Ready(Err(ForwardError::Aborted(code))),
                Next::End | Next::Aborted(_) | Next::Wait => return progress(count),
            }
        }
    }

    /// Waits until the group has another frame or has ended.
    ///
    /// A sink that must know what it would be given before it commits to anything (a stream, a datagram) asks this
    /// first; nothing moves and nothing is charged.
    pub async fn readable(&mut self) {
        poll_fn(|cx| self.poll_readable(cx)).await;
    }

    /// The poll form of [`readable`](Self::readable).
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.next(cx) {
            Next::Wait => Poll::Pending,
            Next::Frame(_) | Next::End | Next::Aborted(_) => Poll::Ready(()),
        }
    }

    /// The next frame, or a parked waker, decided under one lock so that no wake-up is missed.
    fn next(&mut self, cx: &Context<'_>) -> Next {
        if self.index >= self.limit {
            return Next::End;
        }
        let mut state = self.group.lock();
        if let Some(frame) = state.frames.get(usize::from(self.index)) {
            return Next::Frame(frame.clone());
        }
        match state.end {
            Some(End::Finished) => Next::End,
            Some(End::Aborted(code)) => Next::Aborted(code),
            None => {
                state.waiters.park(&mut self.seat, cx.waker());
                Next::Wait
            }
        }
    }

    fn accepted(&mut self, bytes: usize) {
        let group = !std::mem::replace(&mut self.charged_group, true);
        self.account.charge(Charge { bytes, group, datagram: self.group.datagram });
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        if self.seat.is_some() {
            self.group.lock().waiters.leave(&mut self.seat);
        }
    }
}

/// A count of frames.
fn short(frames: usize) -> u16 {
    u16::try_from(frames).unwrap_or(ALL)
}

/// Ready when something moved; otherwise a waker is parked, in the sink or in the group.
fn progress<E>(count: usize) -> Poll<Result<Forwarded, ForwardError<E>>> {
    if count > 0 { Poll::Ready(Ok(Forwarded::Frames(count))) } else { Poll::Pending }
}
