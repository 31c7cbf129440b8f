//! The watching half of a broadcast.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use super::{BroadcastInfo, BroadcastShared, LiveTrack, Pending, Route, Slot, TRACKS_MAX};
use crate::{
    GroupConsumer, Session, Subscription, TrackConsumer, TrackError, TrackInfo, TrackProducer,
    track::TrackShared,
    usage::Payer,
    waiters::{Seat, wake_all},
};

/// A track that was made of a broadcast, for those who are to read it.
#[derive(Debug, Clone)]
pub struct DerivedTrack(Arc<TrackShared>);

/// One session's view of a broadcast. Holding it means that the broadcast is listed for the session, not that anybody
/// watches. Clones share one viewer count.
#[derive(Debug, Clone)]
pub struct BroadcastConsumer {
    shared: Arc<BroadcastShared>,
    info: Arc<BroadcastInfo>,
}

impl BroadcastConsumer {
    pub(crate) fn new(shared: Arc<BroadcastShared>, info: Arc<BroadcastInfo>) -> Self {
        Self { shared, info }
    }

    /// What rides with every handle of the broadcast.
    #[must_use]
    pub fn info(&self) -> &Arc<BroadcastInfo> {
        &self.info
    }

    /// How the broadcast came here, as of now.
    #[must_use]
    pub fn route(&self) -> Route {
        self.shared.route().0
    }

    /// Whether this session reads at least one track of it.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.info.is_active()
    }

    /// What the publisher says of a track. On a dynamic broadcast this asks the publisher and waits for the answer; on
    /// any broadcast it waits until the first track is there.
    ///
    /// # Errors
    /// [`TrackError`] when there is no such track or the broadcast has ended.
    pub async fn track_info(&self, name: &str) -> Result<Arc<TrackInfo>, TrackError> {
        self.track(name).await.map(|track| Arc::clone(&track.info))
    }

    /// Starts to read a track: from here on the session is a viewer, until the last of its readers is dropped.
    ///
    /// # Errors
    /// [`TrackError`] when there is no such track or the broadcast has ended.
    pub async fn subscribe(
        &self,
        name: &str,
        subscription: Subscription,
    ) -> Result<TrackConsumer, TrackError> {
        let track = self.track(name).await?;
        let live = LiveTrack::reader(Arc::clone(&self.info), Arc::clone(&self.shared));
        Ok(TrackConsumer::new(track, live, subscription))
    }

    /// Reads a track to make something of it. It is charged like any reading, but nobody watches by it.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub async fn subscribe_to_derive(
        &self,
        name: &str,
        subscription: Subscription,
    ) -> Result<TrackConsumer, TrackError> {
        let track = self.track(name).await?;
        let live = LiveTrack::maker(Arc::clone(&self.info), Arc::clone(&self.shared));
        Ok(TrackConsumer::new(track, live, subscription))
    }

    /// Starts to read a track that was made of this broadcast. It is charged and counted like any track of it.
    #[must_use]
    pub fn subscribe_derived(&self, track: &DerivedTrack, subscription: Subscription) -> TrackConsumer {
        let live = LiveTrack::reader(Arc::clone(&self.info), Arc::clone(&self.shared));
        TrackConsumer::new(Arc::clone(&track.0), live, subscription)
    }

    /// Makes a track of this broadcast, such as its sound in another coding, that only those can read who are handed the
    /// [`DerivedTrack`]. What is written into it is charged to this session as ingress.
    #[must_use]
    pub fn derive(&self, session: &Session, info: TrackInfo) -> (TrackProducer, DerivedTrack) {
        let payer = session.ingress_info(&self.shared.path, self.info.epoch());
        let track = Arc::new(self.shared.new_track(info));
        self.shared.note_derived(&track);
        let live = LiveTrack::producer(Arc::new(payer));
        (TrackProducer::new(Arc::clone(&track), live), DerivedTrack(track))
    }

    /// One retained group. Its frames and bytes are charged as they leave, the fetch now, no group.
    ///
    /// # Errors
    /// [`TrackError::NotFound`] when there is no such track, or the group is not retained.
    pub async fn fetch(&self, name: &str, sequence: u64) -> Result<GroupConsumer, TrackError> {
        let group = self.track(name).await?.group(sequence).ok_or(TrackError::NotFound)?;
        self.info.meter.fetched();
        Ok(GroupConsumer::new(group, Payer::once(Arc::clone(&self.info)), true))
    }

    /// Waits until the broadcast has ended.
    pub async fn closed(&self) {
        let mut seat = SeatGuard { shared: &self.shared, seat: None };
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.ended {
                return Poll::Ready(());
            }
            state.waiting_consumers.park(&mut seat.seat, cx.waker());
            Poll::Pending
        })
        .await;
    }

    /// Whether the broadcast has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.lock().ended
    }

    async fn track(&self, name: &str) -> Result<Arc<TrackShared>, TrackError> {
        let mut seat = SeatGuard { shared: &self.shared, seat: None };
        let mut pending = None;
        poll_fn(|cx| self.shared.poll_track(name, &mut pending, &mut seat.seat, cx)).await
    }
}

impl BroadcastShared {
    fn poll_track(
        &self,
        name: &str,
        asked: &mut Option<Arc<Pending>>,
        seat: &mut Option<Seat>,
        cx: &Context<'_>,
    ) -> Poll<Result<Arc<TrackShared>, TrackError>> {
        let mut woken = Vec::new();
        {
            let mut state = self.lock();
            if let Some(answer) = asked.as_ref().and_then(|pending| pending.get()) {
                return Poll::Ready(answer);
            }
            if asked.is_none() {
                match state.tracks.get(name) {
                    _ if state.ended => return Poll::Ready(Err(TrackError::Closed)),
                    Some(Slot::Live(track)) if !(self.dynamic && track.is_failed()) => {
                        return Poll::Ready(Ok(Arc::clone(track)));
                    }
                    Some(Slot::Requested(pending)) => *asked = Some(Arc::clone(pending)),
                    _ if !self.dynamic && !state.opened => {}
                    _ if !self.dynamic => return Poll::Ready(Err(TrackError::NotFound)),
                    None if state.tracks.len() >= TRACKS_MAX => return Poll::Ready(Err(TrackError::Limit)),
                    _ => {
                        let (name, pending) = (Arc::<str>::from(name), Arc::<Pending>::default());
                        state.tracks.insert(Arc::clone(&name), Slot::Requested(Arc::clone(&pending)));
                        state.requested.push_back(name);
                        state.waiting_producer.take(&mut woken);
                        *asked = Some(pending);
                    }
                }
            }
            state.waiting_consumers.park(seat, cx.waker());
        }
        wake_all(&mut woken);
        Poll::Pending
    }
}

struct SeatGuard<'a> {
    shared: &'a BroadcastShared,
    seat: Option<Seat>,
}

impl Drop for SeatGuard<'_> {
    fn drop(&mut self) {
        self.shared.lock().waiting_consumers.leave(&mut self.seat);
    }
}
