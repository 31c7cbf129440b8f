//! The reading half of a track.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use super::{Demand, End, TrackError, TrackInfo, TrackShared, TrackState};
use crate::{
    GroupConsumer, Start, Subscription, Timestamp,
    broadcast::LiveTrack,
    usage::Payer,
    waiters::{Seat, wake_all},
};

/// Reads the groups of a track in the order in which they came. While it lives, its session is a viewer of the
/// broadcast.
#[derive(Debug)]
pub struct TrackConsumer {
    shared: Arc<TrackShared>,
    payer: Arc<Payer>,
    live: LiveTrack,
    /// Arrival number of the next group to look at.
    cursor: u64,
    /// Arrival number of the first group that came after the reader.
    joined: u64,
    /// Groups below this sequence are not wanted.
    floor: u64,
    subscription: Subscription,
    /// Index among the readers of the track.
    reader: usize,
    seat: Option<Seat>,
}

impl TrackConsumer {
    pub(crate) fn new(shared: Arc<TrackShared>, live: LiveTrack, subscription: Subscription) -> Self {
        let mut woken = Vec::new();
        let (cursor, floor, joined, reader) = {
            let mut state = shared.lock();
            let (cursor, floor) = state.start(&shared, subscription);
            let reader = state.enlist(Demand { viewer: live.viewer(), subscription });
            state.keyframe_wanted = true;
            state.waiting_producer.take(&mut woken);
            (cursor, floor, state.next_arrival(), reader)
        };
        wake_all(&mut woken);
        let payer = Payer::reader(Arc::clone(live.info()), live.latency());
        Self { shared, payer, live, cursor, joined, floor, subscription, reader, seat: None }
    }

    /// What does not change while the track lives.
    #[must_use]
    pub fn info(&self) -> &Arc<TrackInfo> {
        &self.shared.info
    }

    /// What this reader asks for.
    #[must_use]
    pub fn subscription(&self) -> Subscription {
        self.subscription
    }

    /// Asks for something else from now on. The start of a reader that has begun does not move.
    pub fn update(&mut self, subscription: Subscription) {
        self.subscription = subscription;
        let mut woken = Vec::new();
        {
            let mut state = self.shared.lock();
            if let Some(reader) = state.readers.get_mut(self.reader) {
                *reader = Some(Demand { viewer: self.live.viewer(), subscription });
            }
            state.waiting_producer.take(&mut woken);
        }
        wake_all(&mut woken);
    }

    /// Says that this reader would do better with a new group soon: it lost what it needs to go on. Whether the producer
    /// can have one made is up to it.
    pub fn request_keyframe(&self) {
        let mut woken = Vec::new();
        {
            let mut state = self.shared.lock();
            state.keyframe_wanted = true;
            state.waiting_producer.take(&mut woken);
        }
        wake_all(&mut woken);
    }

    /// Waits for the next group. `None` is the clean end of the track or of the range that was asked for.
    ///
    /// A reader that falls behind what is retained goes on with the oldest group that is; nothing else is skipped.
    ///
    /// # Errors
    /// [`TrackError`] when the track ended early, after everything that is retained was returned.
    pub async fn next_group(&mut self) -> Result<Option<GroupConsumer>, TrackError> {
        poll_fn(|cx| self.poll_next_group(cx)).await
    }

    /// The poll form of [`next_group`](Self::next_group).
    ///
    /// # Errors
    /// As [`next_group`](Self::next_group).
    pub fn poll_next_group(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<GroupConsumer>, TrackError>> {
        let mut state = self.shared.lock();
        self.cursor = self.cursor.max(state.first_arrival);
        while let Some(group) = state.at(self.cursor) {
            self.cursor += 1;
            let wanted =
                group.sequence >= self.floor && self.subscription.end.is_none_or(|end| group.sequence <= end);
            if wanted {
                let group = GroupConsumer::new(group, Arc::clone(&self.payer), false);
                let was_there = self.cursor <= self.joined;
                return Poll::Ready(Ok(Some(if was_there { group.joined() } else { group })));
            }
        }
        let past_end = |(newest, _)| self.subscription.end.is_some_and(|end| newest > end);
        match state.end {
            _ if state.newest.is_some_and(past_end) => Poll::Ready(Ok(None)),
            Some(End::Finished) => Poll::Ready(Ok(None)),
            Some(End::Failed(error)) => Poll::Ready(Err(error)),
            None => {
                state.waiting_readers.park(&mut self.seat, cx.waker());
                Poll::Pending
            }
        }
    }

    /// The latest timestamp that any group of the track holds, once there is one.
    #[must_use]
    pub fn newest_timestamp(&self) -> Option<Timestamp> {
        self.newest_sequence().map(|_| self.shared.newest_timestamp())
    }

    /// The highest group sequence so far.
    #[must_use]
    pub fn newest_sequence(&self) -> Option<u64> {
        self.shared.lock().newest.map(|(sequence, _)| sequence)
    }

    /// The sequence at which the track ends, exclusive, once that is known.
    #[must_use]
    pub fn end_sequence(&self) -> Option<u64> {
        self.shared.lock().end_sequence
    }
}

impl Drop for TrackConsumer {
    fn drop(&mut self) {
        let mut woken = Vec::new();
        {
            let mut state = self.shared.lock();
            if let Some(reader) = state.readers.get_mut(self.reader) {
                *reader = None;
            }
            state.waiting_readers.leave(&mut self.seat);
            state.waiting_producer.take(&mut woken);
        }
        wake_all(&mut woken);
    }
}

impl TrackState {
    /// Where a new reader begins: an arrival number, and the lowest sequence that it wants.
    fn start(&self, track: &TrackShared, subscription: Subscription) -> (u64, u64) {
        let Some((newest, arrival)) = self.newest else {
            return (self.first_arrival, if let Start::From(first) = subscription.start { first } else { 0 });
        };
        match subscription.start {
            Start::Latest => (arrival, newest),
            Start::From(first) => (self.first_arrival, first),
            Start::WithinAge => {
                let fresh = |index: &usize| {
                    let group = self.groups.get(*index);
                    group.is_some_and(|group| !track.is_older(group, subscription.max_age))
                };
                let oldest =
                    (0..self.groups.len()).find(fresh).map(|index| self.first_arrival + index as u64);
                let start = oldest.unwrap_or(arrival).min(arrival);
                (start, self.at(start).map_or(newest, |group| group.sequence))
            }
        }
    }

    fn at(&self, arrival: u64) -> Option<Arc<crate::group::GroupShared>> {
        let index = usize::try_from(arrival.checked_sub(self.first_arrival)?).ok()?;
        self.groups.get(index).cloned()
    }

    fn enlist(&mut self, demand: Demand) -> usize {
        let free = self.readers.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            self.readers.push(None);
            self.readers.len() - 1
        });
        if let Some(reader) = self.readers.get_mut(index) {
            *reader = Some(demand);
        }
        index
    }
}
