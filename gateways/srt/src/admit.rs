//! The decision about one caller, in a task of its own: however slow admission is, other callers do not wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use moqgate_core::{
    BroadcastProducer, Direction, Gate, Protocol, PublishError, PublishOptions, Request, Secret, Session,
};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::accept::{Call, CallKey, open_keys};
use crate::crypto::Crypto;
use crate::reject::Reject;
use crate::stats::Link;
use crate::streamid::Mode;

/// Passphrases in work at once; each takes a core for a millisecond.
const KEY_WORKERS: usize = 2;

/// Most that a decision may take: libsrt callers give up after 3 s, and the table forgets them after 5 s.
const DECISION_LIMIT: Duration = Duration::from_secs(4);

/// What every decision needs.
#[derive(Clone)]
pub(crate) struct Judge {
    gate: Gate,
    passphrase: Option<Secret>,
    play_wait: Duration,
    workers: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// Everything a connection needs besides the protocol.
pub(crate) struct Admitted {
    pub(crate) session: Session,
    pub(crate) role: Role,
    pub(crate) link: Arc<Link>,
    pub(crate) crypto: Option<Crypto>,
}

/// What the caller may do.
pub(crate) enum Role {
    /// Fill this broadcast.
    Publish(BroadcastProducer),
    /// Watch the broadcast that it named.
    Play,
}

/// Why not, as a code and in words.
pub(crate) type Refusal = (Reject, String);

/// The answer to a [`Call`].
pub(crate) struct Decision {
    pub(crate) key: CallKey,
    pub(crate) outcome: Result<Box<Admitted>, Refusal>,
}

impl Judge {
    pub(crate) fn new(
        gate: Gate,
        passphrase: Option<Secret>,
        play_wait: Duration,
        tasks: TaskTracker,
    ) -> Self {
        Self { gate, passphrase, play_wait, workers: Arc::new(Semaphore::new(KEY_WORKERS)), tasks }
    }

    /// Decides within [`DECISION_LIMIT`].
    pub(crate) async fn decide(self, call: Call) -> Decision {
        let key = call.key;
        let outcome = match tokio::time::timeout(DECISION_LIMIT, self.admit(call)).await {
            Ok(outcome) => outcome,
            Err(_) => Err((Reject::Unavailable, "admission took too long".to_owned())),
        };
        Decision { key, outcome }
    }

    async fn admit(&self, call: Call) -> Result<Box<Admitted>, Refusal> {
        let direction = match call.stream.mode {
            Mode::Publish => Direction::Publish,
            Mode::Request => Direction::Subscribe,
        };
        let request = Request {
            protocol: Protocol::Srt,
            direction,
            path: call.stream.path.clone(),
            credential: call.stream.credential,
            peer: canonical(call.key.from),
        };
        let grant =
            self.gate.admit(&request).await.map_err(|denied| (Reject::from(denied.reason), denied.detail))?;
        let passphrase = grant.passphrase.clone().or(self.passphrase.clone());
        let crypto = if passphrase.is_some() && call.material.is_some() {
            let _permit = self.workers.acquire().await;
            self.tasks
                .spawn_blocking(move || open_keys(passphrase, call.material.as_ref()))
                .await
                .unwrap_or(Err((Reject::Unavailable, "the process is stopping")))
        } else {
            open_keys(passphrase, call.material.as_ref())
        };
        let crypto = crypto.map_err(|(reject, detail)| (reject, detail.to_owned()))?;
        let link = Arc::<Link>::default();
        let session = self.gate.open(request, grant, SystemTime::now(), Some(link.clone()));
        link.belongs_to(&session);
        let role = match call.stream.mode {
            Mode::Publish => Role::Publish(publish(&session)?),
            Mode::Request => self.play_wait_allows(&session).map(|()| Role::Play)?,
        };
        Ok(Box::new(Admitted { session, role, link, crypto }))
    }

    /// Whether a player is let in before anybody knows that there will be something to play.
    fn play_wait_allows(&self, session: &Session) -> Result<(), Refusal> {
        let (consumer, path) = (session.consumer(), session.path());
        if !consumer.may_subscribe(path) {
            return Err((Reject::Forbidden, "not allowed to watch this path".to_owned()));
        }
        if self.play_wait.is_zero() && consumer.consume(path).is_none() {
            return Err((Reject::NotFound, "nobody publishes this path".to_owned()));
        }
        Ok(())
    }
}

fn publish(session: &Session) -> Result<BroadcastProducer, Refusal> {
    session.publisher().publish(session.path(), PublishOptions::default(), Instant::now()).map_err(|error| {
        let reject = match error {
            PublishError::Busy => Reject::Conflict,
            PublishError::Forbidden | _ => Reject::Forbidden,
        };
        (reject, error.to_string())
    })
}

/// An IPv4 peer of a dual-stack socket as what it is.
pub(crate) fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
