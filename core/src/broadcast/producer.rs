//! The publishing half of a broadcast.

use std::{future::poll_fn, sync::Arc, task::Poll};

use super::{
    BroadcastInfo, BroadcastShared, Cost, LiveTrack, Pending, Slot, TRACKS_MAX, TrackRequest, TrackStatus,
};
use crate::{
    TrackInfo, TrackProducer,
    origin::OriginShared,
    time::MICROS_PER_SECOND,
    waiters::{Seat, wake_all},
};

/// The claim on a path. Dropping it takes the broadcast out of the origin and ends every track of it.
#[derive(Debug)]
pub struct BroadcastProducer {
    origin: Arc<OriginShared>,
    shared: Arc<BroadcastShared>,
    info: Arc<BroadcastInfo>,
}

/// Why a track cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateTrackError {
    /// A live track has that name.
    #[error("the track exists")]
    Duplicate,
    /// The broadcast was taken over.
    #[error("the broadcast has ended")]
    Closed,
    /// The broadcast has 256 tracks.
    #[error("a broadcast may have at most {TRACKS_MAX} tracks")]
    Limit,
    /// The timescale is not in 1 to 1,000,000.
    #[error("the timescale must lie between 1 and {MICROS_PER_SECOND}")]
    Timescale,
}

impl BroadcastProducer {
    pub(crate) fn new(origin: Arc<OriginShared>, shared: Arc<BroadcastShared>, info: BroadcastInfo) -> Self {
        Self { origin, shared, info: Arc::new(info) }
    }

    /// What rides with every handle of the broadcast.
    #[must_use]
    pub fn info(&self) -> &Arc<BroadcastInfo> {
        &self.info
    }

    /// Opens a track.
    ///
    /// # Errors
    /// [`CreateTrackError`] when the name is taken, the broadcast has ended, or a limit is reached.
    pub fn create_track(&self, info: TrackInfo) -> Result<TrackProducer, CreateTrackError> {
        self.open(info, None)
    }

    pub(super) fn open(
        &self,
        info: TrackInfo,
        asked: Option<&Arc<Pending>>,
    ) -> Result<TrackProducer, CreateTrackError> {
        if !(1..=MICROS_PER_SECOND).contains(&info.timescale) {
            return Err(CreateTrackError::Timescale);
        }
        let mut woken = Vec::new();
        let track = {
            let mut state = self.shared.lock();
            if state.ended {
                return Err(CreateTrackError::Closed);
            }
            match state.tracks.get(&info.name) {
                Some(Slot::Live(track)) if !track.is_failed() => return Err(CreateTrackError::Duplicate),
                _ => {}
            }
            if state.tracks.len() >= TRACKS_MAX {
                state.tracks.retain(|_, slot| !matches!(slot, Slot::Live(track) if track.is_ended()));
            }
            if state.tracks.len() >= TRACKS_MAX && !state.tracks.contains_key(&info.name) {
                return Err(CreateTrackError::Limit);
            }
            state.opened = true;
            let name = Arc::clone(&info.name);
            let track = Arc::new(self.shared.new_track(info));
            let replaced = state.tracks.insert(name, Slot::Live(Arc::clone(&track)));
            if let Some(Slot::Requested(pending)) = replaced {
                pending.answer(Ok(Arc::clone(&track)));
            }
            if let Some(pending) = asked {
                pending.answer(Ok(Arc::clone(&track)));
            }
            state.waiting_consumers.take(&mut woken);
            track
        };
        wake_all(&mut woken);
        Ok(TrackProducer::new(track, LiveTrack::producer(Arc::clone(&self.info))))
    }

    /// Waits until a reader wants a track that nobody produces. Only a dynamic broadcast is ever asked; `None` once the
    /// broadcast was taken over.
    pub async fn requested_track(&self) -> Option<TrackRequest<'_>> {
        let mut seat = SeatGuard { shared: &self.shared, seat: None };
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            while let Some(name) = state.requested.pop_front() {
                if let Some(Slot::Requested(pending)) = state.tracks.get(&name) {
                    return Poll::Ready(Some(TrackRequest::new(self, name, Arc::clone(pending))));
                }
            }
            if state.ended {
                return Poll::Ready(None);
            }
            state.waiting_producer.park(&mut seat.seat, cx.waker());
            Poll::Pending
        })
        .await
    }

    /// Takes a request back that was not answered, so that the next reader asks anew.
    pub(super) fn refuse(&self, name: &Arc<str>, pending: &Arc<Pending>) {
        let mut woken = Vec::new();
        {
            let mut state = self.shared.lock();
            if matches!(state.tracks.get(name), Some(Slot::Requested(slot)) if Arc::ptr_eq(slot, pending)) {
                state.tracks.remove(name);
            }
            state.waiting_consumers.take(&mut woken);
        }
        wake_all(&mut woken);
    }

    /// Says that the broadcast now comes over another route. Readers stay.
    pub fn update_route(&self, hops: Vec<u64>, cost: Cost) {
        {
            let mut state = self.shared.lock();
            state.route = super::Route { hops, cost };
            state.route_version += 1;
        }
        self.origin.changed(&self.shared.path);
    }

    /// Replaces what the API shows of the broadcast's tracks.
    pub fn set_status(&self, tracks: Vec<TrackStatus>) {
        self.shared.lock().status = tracks;
    }

    /// How many watch, here and behind relays.
    #[must_use]
    pub fn viewers(&self) -> u64 {
        self.shared.audience()
    }

    /// Waits until another publisher has taken the path over.
    pub async fn revoked(&self) {
        let mut seat = SeatGuard { shared: &self.shared, seat: None };
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.ended {
                return Poll::Ready(());
            }
            state.waiting_producer.park(&mut seat.seat, cx.waker());
            Poll::Pending
        })
        .await;
    }

    /// Whether another publisher has taken the path over.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.shared.lock().ended
    }
}

impl Drop for BroadcastProducer {
    fn drop(&mut self) {
        self.origin.withdraw(&self.shared);
        self.shared.end();
        self.info.unannounce();
    }
}

struct SeatGuard<'a> {
    shared: &'a BroadcastShared,
    seat: Option<Seat>,
}

impl Drop for SeatGuard<'_> {
    fn drop(&mut self) {
        self.shared.lock().waiting_producer.leave(&mut self.seat);
    }
}
