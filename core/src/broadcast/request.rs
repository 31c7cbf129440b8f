//! A track that a reader wants and nobody produces yet.

use std::sync::{Arc, Mutex, PoisonError};

use super::{BroadcastProducer, CreateTrackError};
use crate::{TrackError, TrackInfo, TrackProducer, track::TrackShared};

/// What a request came to.
type Answer = Result<Arc<TrackShared>, TrackError>;

/// Where readers find the answer to a request, even if the slot of the track has moved on.
#[derive(Debug, Default)]
pub(crate) struct Pending(Mutex<Option<Answer>>);

impl Pending {
    /// The first answer counts.
    pub(crate) fn answer(&self, answer: Answer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(answer);
    }

    pub(crate) fn get(&self) -> Option<Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A question to the publisher of a dynamic broadcast. Dropping it answers that there is no such track.
#[derive(Debug)]
pub struct TrackRequest<'a> {
    broadcast: &'a BroadcastProducer,
    name: Arc<str>,
    pending: Arc<Pending>,
}

impl<'a> TrackRequest<'a> {
    pub(super) fn new(broadcast: &'a BroadcastProducer, name: Arc<str>, pending: Arc<Pending>) -> Self {
        Self { broadcast, name, pending }
    }

    /// The track that is wanted.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Answers with a track. Its name is that of the request, whatever `info` says.
    ///
    /// # Errors
    /// [`CreateTrackError`] when the broadcast was taken over, or `info` is not acceptable.
    pub fn accept(self, info: TrackInfo) -> Result<TrackProducer, CreateTrackError> {
        let info = TrackInfo { name: Arc::clone(&self.name), ..info };
        self.broadcast.open(info, Some(&self.pending))
    }

    /// Answers that the track cannot be had.
    pub fn reject(self, error: TrackError) {
        self.pending.answer(Err(error));
    }
}

impl Drop for TrackRequest<'_> {
    fn drop(&mut self) {
        self.pending.answer(Err(TrackError::NotFound));
        self.broadcast.refuse(&self.name, &self.pending);
    }
}
