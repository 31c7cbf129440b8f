//! The track that a lane is about to go on with.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use moqgate_core::{BroadcastConsumer, Subscription, Timestamp, TrackConsumer, TrackError, monotonic_now};
use moqgate_mux::play::Reader;

use super::adapt::Step;
use super::choice::Choice;
use super::lane::PICTURES;

/// How long its keyframe may take to come: longer than encoders have between two. Until then the track at hand goes on.
const LIMIT: Duration = Duration::from_secs(12);

type Asking = Pin<Box<dyn Future<Output = Result<TrackConsumer, TrackError>> + Send>>;

/// Another rendition, which is read but not taken from before its next keyframe is there.
pub(super) struct Next {
    pub(super) step: Step,
    pub(super) choice: Choice,
    floor: Timestamp,
    until: Instant,
    state: State,
}

enum State {
    Asked(Asking),
    Read(Box<Reader>),
    Failed,
}

impl Next {
    /// Asks for the track. It begins with a keyframe after `floor`.
    pub(super) fn new(
        step: Step,
        choice: Choice,
        broadcast: BroadcastConsumer,
        floor: Timestamp,
        now: Instant,
    ) -> Self {
        let track = choice.track.clone();
        let asking = async move { broadcast.subscribe(&track, Subscription::default()).await };
        Self { step, choice, floor, until: now + LIMIT, state: State::Asked(Box::pin(asking)) }
    }

    /// Whether there is something for [`Next::take`], or for nobody any more.
    pub(super) fn fill(&mut self, cx: &mut Context<'_>) -> bool {
        if let State::Asked(asking) = &mut self.state {
            match asking.as_mut().poll(cx) {
                Poll::Ready(Ok(track)) => {
                    let name = self.choice.track.clone();
                    let reader = Reader::new(name, true, 0, self.floor, PICTURES, monotonic_now, track);
                    self.state = State::Read(Box::new(reader));
                }
                Poll::Ready(Err(_)) => self.state = State::Failed,
                Poll::Pending => return false,
            }
        }
        match &mut self.state {
            State::Read(reader) => reader.fill(i64::MAX, cx) || reader.head().is_some(),
            State::Asked(_) => false,
            State::Failed => true,
        }
    }

    /// Whether its keyframe is there.
    pub(super) fn is_ready(&self) -> bool {
        matches!(&self.state, State::Read(reader) if reader.head().is_some())
    }

    /// Whether it will not come.
    pub(super) fn is_lost(&self, now: Instant) -> bool {
        match &self.state {
            State::Read(reader) => reader.is_over() || now >= self.until,
            State::Asked(_) => now >= self.until,
            State::Failed => true,
        }
    }

    /// What was chosen, and its reader.
    pub(super) fn take(self) -> Option<(Choice, Reader)> {
        match self.state {
            State::Read(reader) => Some((self.choice, *reader)),
            State::Asked(_) | State::Failed => None,
        }
    }
}
