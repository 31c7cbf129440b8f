//! The writing half of a track.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use super::{End, TrackError, TrackInfo, TrackShared};
use crate::{
    BroadcastInfo, GroupProducer, StreamCode, Subscription,
    broadcast::LiveTrack,
    group::GroupShared,
    waiters::{Seat, wake_all},
};

/// Writes groups into a track. Dropping it without [`finish`](Self::finish) ends the track as aborted.
#[derive(Debug)]
pub struct TrackProducer {
    shared: Arc<TrackShared>,
    info: Arc<BroadcastInfo>,
    _live: LiveTrack,
    seen: Option<Subscription>,
    seat: Option<Seat>,
    demand: Option<Seat>,
}

/// The track or its broadcast has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the track has ended")]
pub struct TrackClosed;

/// Why a group with a given sequence cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateGroupError {
    /// The track or its broadcast has ended, or ends before this sequence.
    #[error("the track has ended")]
    Closed,
    /// There is such a group.
    #[error("the group exists")]
    Duplicate,
    /// The sequence is higher than what every peer can hold.
    #[error("the sequence is out of range")]
    Range,
    /// An older group than the newest, while more is retained than may be.
    #[error("the group comes too late")]
    Late,
}

/// Sequences stay below what a JavaScript peer can hold.
const SEQUENCE_MAX: u64 = (1 << 53) - 2;

impl TrackProducer {
    pub(crate) fn new(shared: Arc<TrackShared>, live: LiveTrack) -> Self {
        let info = Arc::clone(live.info());
        Self { shared, info, _live: live, seen: None, seat: None, demand: None }
    }

    /// What does not change while the track lives.
    #[must_use]
    pub fn info(&self) -> &Arc<TrackInfo> {
        &self.shared.info
    }

    /// Opens the next group.
    ///
    /// # Errors
    /// [`TrackClosed`] once the track or its broadcast has ended.
    pub fn append_group(&self) -> Result<GroupProducer, TrackClosed> {
        let next = self.shared.lock().next_sequence();
        self.open(next, false).map_err(|_| TrackClosed)
    }

    /// Opens the group of that sequence, in any order.
    ///
    /// # Errors
    /// [`CreateGroupError`] when the track has ended, or the sequence is taken or out of range.
    pub fn create_group(&self, sequence: u64) -> Result<GroupProducer, CreateGroupError> {
        self.open(sequence, false)
    }

    /// Opens a group that holds one frame and travels as a datagram.
    ///
    /// # Errors
    /// As [`create_group`](Self::create_group).
    pub fn create_datagram(&self, sequence: u64) -> Result<GroupProducer, CreateGroupError> {
        self.open(sequence, true)
    }

    fn open(&self, sequence: u64, datagram: bool) -> Result<GroupProducer, CreateGroupError> {
        if sequence > SEQUENCE_MAX {
            return Err(CreateGroupError::Range);
        }
        let mut woken = Vec::new();
        let group = Arc::new(GroupShared::new(sequence, datagram));
        {
            let mut state = self.shared.lock();
            if state.end.is_some() || state.end_sequence.is_some_and(|end| sequence >= end) {
                return Err(CreateGroupError::Closed);
            }
            let appended = sequence >= state.next_sequence();
            if !appended && state.groups.iter().any(|group| group.sequence == sequence) {
                return Err(CreateGroupError::Duplicate);
            }
            if !appended && state.is_over(&self.shared) {
                return Err(CreateGroupError::Late);
            }
            state.insert(Arc::clone(&group));
            state.evict(&self.shared, &mut woken);
            state.waiting_readers.take(&mut woken);
        }
        wake_all(&mut woken);
        Ok(GroupProducer::new(group, Arc::clone(&self.shared), Arc::clone(&self.info)))
    }

    /// What all live readers ask for together; `None` while nobody reads.
    #[must_use]
    pub fn subscription(&self) -> Option<Subscription> {
        self.shared.lock().subscription()
    }

    /// Waits until [`subscription`](Self::subscription) differs, in more than the number of viewers, from what this
    /// returned last (at first: `None`), or the track has ended, in which case it is `None`.
    pub async fn subscription_changed(&mut self) -> Option<Subscription> {
        self.demand_changed(None).await
    }

    /// As [`subscription_changed`](Self::subscription_changed); also returns when the sum of the viewers is not `told`.
    ///
    /// The sum changes with every viewer. Whoever passes it on says here what it said last, and leaves it out for as
    /// long as it does not want to say anything.
    pub async fn demand_changed(&mut self, told: Option<u64>) -> Option<Subscription> {
        let Self { shared, seen, seat, .. } = self;
        poll_fn(|cx| {
            let mut state = shared.lock();
            let current = if state.end.is_some() { None } else { state.subscription() };
            let same = current.map(Subscription::uncounted) == seen.map(Subscription::uncounted);
            let counted = current.zip(told).is_none_or(|(current, told)| current.downstream == told);
            if same && counted && state.end.is_none() {
                state.waiting_producer.park(seat, cx.waker());
                return Poll::Pending;
            }
            *seen = current;
            Poll::Ready(current)
        })
        .await
    }

    /// Ready, once, when a reader has come or asked for a keyframe since this was last ready. A gateway that can ask its
    /// encoder for one does, as often as it sees fit.
    pub fn poll_keyframe_wanted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.shared.lock();
        if std::mem::take(&mut state.keyframe_wanted) {
            return Poll::Ready(());
        }
        state.waiting_producer.park(&mut self.demand, cx.waker());
        Poll::Pending
    }

    /// Whether the track has been ended from elsewhere: its broadcast ended or was taken over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.lock().end.is_some()
    }

    /// Announces that no group at or past `sequence` will come, while earlier ones may still be open.
    pub fn finish_at(&self, sequence: u64) {
        let mut woken = Vec::new();
        {
            let mut state = self.shared.lock();
            state.end_sequence.get_or_insert(sequence);
            state.waiting_readers.take(&mut woken);
        }
        wake_all(&mut woken);
    }

    /// Ends the track. Groups that are open may still be completed by their producers.
    pub fn finish(self) {
        self.end(End::Finished);
    }

    /// Ends the track with an error.
    pub fn abort(self, error: TrackError) {
        self.end(End::Failed(error));
    }

    fn end(&self, end: End) {
        let mut woken = Vec::new();
        {
            let mut state = self.shared.lock();
            if state.end.is_some() {
                return;
            }
            let next = state.next_sequence();
            state.end_sequence.get_or_insert(next);
            state.end = Some(end);
            state.wake_everyone(&mut woken);
        }
        wake_all(&mut woken);
    }
}

impl Drop for TrackProducer {
    fn drop(&mut self) {
        self.end(End::Failed(TrackError::Aborted));
        let mut state = self.shared.lock();
        state.waiting_producer.leave(&mut self.seat);
        state.waiting_producer.leave(&mut self.demand);
    }
}

impl TrackShared {
    /// Ends the track with an error that a reader sees, and with `code` on its open groups.
    pub(crate) fn close(&self) {
        self.fail(TrackError::Closed, StreamCode::CANCELLED);
    }
}

impl super::TrackState {
    fn subscription(&self) -> Option<Subscription> {
        let wanted = self.readers.iter().flatten().map(|demand| demand.subscription.counted());
        wanted.reduce(Subscription::merge)
    }
}
