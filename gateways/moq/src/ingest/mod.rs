//! The subscriber's role on a session: what the peer announces becomes broadcasts of the local origin.
//!
//! [`Ingest::run`] follows the peer's announcements, a task per announced broadcast serves its demand, and a future of
//! [`Ingest::group`] per group stream moves its frames. A broadcast is *dynamic*: nothing is asked of the peer until
//! a reader wants a track; then TRACK (05 and later), SUBSCRIBE, an UPDATE whenever the readers together want something
//! else, and the end some time after the last of them has gone.
//!
//! > Group streams find their subscription by id in [`Subscriptions`]; only the future that owns the track opens groups
//! > in it, so what END and DROP say is applied in one place.

mod announce;
mod broadcast;
mod feed;
mod frames;
mod group;
mod progress;
mod route;
mod subscriptions;
mod track;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use moqgate_core::{OriginProducer, Path};
use tokio_util::task::TaskTracker;

use self::group::Budget;
use self::subscriptions::{Arrival, Subscriptions};
use crate::transport::{self, Reader};
use crate::wire::{AnnounceError, Datagram, DecodeError, Version};

/// What the role needs to know of its session.
pub(crate) struct Link {
    /// Where streams are opened.
    pub(crate) session: transport::Session,
    /// What is spoken.
    pub(crate) version: Version,
    /// Publishes for this session.
    pub(crate) origin: OriginProducer,
    /// What the peer's paths are relative to.
    pub(crate) root: Path,
    /// Price of pulling from the peer: its SETUP says it, 1 if it does not.
    pub(crate) cost: u64,
    /// Whether the peer takes the number of viewers in a subscription: its SETUP says so. Others reject it.
    pub(crate) counts_viewers: bool,
    /// Where the tasks of broadcasts run.
    pub(crate) tasks: TaskTracker,
}

/// The role on one session. Clones are the same.
#[derive(Clone)]
pub(crate) struct Ingest(Arc<Shared>);

struct Shared {
    link: Link,
    /// Stands for a publisher that does not say who it is: below 2^53, as JavaScript peers need it.
    anonymous: u64,
    subscriptions: Subscriptions,
    budget: Budget,
    /// Zero of the timestamps of versions that have none.
    base: Instant,
}

/// The peer broke the rules of announcing: the session is to be closed as a protocol violation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    /// Bytes that are no announcement.
    #[error("announcement: {0}")]
    Decode(DecodeError),
    /// An announcement that cannot be.
    #[error("{0}")]
    Announce(AnnounceError),
}

impl Ingest {
    /// The role, idle until [`run`](Self::run).
    pub(crate) fn new(link: Link) -> Self {
        Self(Arc::new(Shared {
            link,
            anonymous: rand::random_range(1..1 << 53),
            subscriptions: Subscriptions::default(),
            budget: Budget::default(),
            base: Instant::now(),
        }))
    }

    /// Asks what the peer announces, and publishes it here until the peer withdraws it all or the session is over.
    /// Dropping the future withdraws it.
    ///
    /// # Errors
    /// The peer broke the rules of announcing.
    pub(crate) async fn run(&self) -> Result<(), Violation> {
        announce::follow(&self.0).await
    }

    /// Takes one GROUP stream, whose type has been read, to its end.
    pub(crate) async fn group(&self, stream: Reader) {
        group::receive(&self.0, stream).await;
    }

    /// Takes one datagram. What is unknown, malformed or more than the owner of the track keeps up with is dropped.
    pub(crate) fn datagram(&self, body: Bytes) {
        if !self.0.link.version.has_tracks() {
            return;
        }
        match Datagram::decode(body) {
            Ok(datagram) => self.0.subscriptions.offer(datagram.subscribe_id, Arrival::Datagram(datagram)),
            Err(error) => tracing::debug!(%error, "datagram dropped"),
        }
    }
}
