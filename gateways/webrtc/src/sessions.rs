//! The sessions of a listener: what HTTP reaches of them, and what ends them.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::http::StatusCode;
use moqgate_core::usage::EndReason;
use moqgate_core::{Credential, Eviction, KillReason, Path, Rarely, Seat, Session};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::engine::{Peer, State};
use crate::error::Refusal;
use crate::link::Link;
use crate::listen::Shared;
use crate::metrics::Kind;
use crate::sdp::{Candidate, Fragment, Offer, attribute_of};

/// How long a client may take from its answer to a connection: checks start at once, and TCP is tried last.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// Live sessions by the secret in their URL.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, Arc<Entry>>>);

/// What HTTP can do to a session.
pub(crate) struct Entry {
    pub(crate) credential: Credential,
    pub(crate) end: CancellationToken,
    candidates: Vec<Candidate>,
    peer: Weak<Peer>,
    described: tokio::sync::Mutex<Described>,
}

struct Described {
    offer: Offer,
    tag: String,
}

type Notices = Rarely<Pin<Box<dyn Future<Output = Notice> + Send>>>;

/// One session, from its answer to its end. Dropping it frees all of it.
pub(crate) struct Live {
    pub(crate) shared: Arc<Shared>,
    pub(crate) path: Path,
    pub(crate) peer: Arc<Peer>,
    pub(crate) session: Session,
    pub(crate) link: Arc<Link>,
    /// The lock is for the type alone: a session's task lends the session to what it waits for.
    notice: Mutex<Notices>,
    seat: Seat,
    end: CancellationToken,
    id: String,
    kind: Kind,
}

/// What a new session is made of.
pub(crate) struct Parts {
    pub(crate) kind: Kind,
    pub(crate) path: Path,
    pub(crate) peer: Peer,
    pub(crate) session: Session,
    pub(crate) link: Arc<Link>,
    pub(crate) seat: Seat,
    pub(crate) offer: Offer,
    pub(crate) credential: Credential,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) fragment: String,
}

/// Something that a session's task has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Media may flow.
    Connected,
    /// It is over.
    Over(End),
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client said so over HTTP.
    Deleted,
    /// The peer closed the connection or is not heard any more.
    Gone,
    /// It never connected, within the time for that or before it had to make room.
    Unconnected,
    /// The process stops.
    Stopping,
    /// From outside.
    Killed(KillReason),
    /// The broadcast has another publisher.
    Replaced,
    /// The broadcast is over, for a player.
    Finished,
    /// The player could not show it.
    Unplayable,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Gone => "gone",
            Self::Unconnected => "never connected",
            Self::Stopping => "stopping",
            Self::Killed(_) => "killed",
            Self::Replaced => "taken over",
            Self::Finished => "the broadcast is over",
            Self::Unplayable => "not playable",
        }
    }
}

impl Sessions {
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Entry>> {
        self.lock().get(id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The current entity tag.
    pub(crate) async fn tag(&self) -> String {
        self.described.lock().await.tag.clone()
    }

    /// Restarts ICE with the client's new credentials. Gives the fragment for it and the new entity tag.
    pub(crate) async fn restart(&self, fragment: &str, password: &str) -> Result<(String, String), Refusal> {
        let gone = || Refusal::new(StatusCode::NOT_FOUND, "the session is over");
        let peer = self.peer.upgrade().ok_or_else(gone)?;
        let mut described = self.described.lock().await;
        let offer = described.offer.restarted(fragment, password);
        let answer = peer.restart(&offer).map_err(|error| {
            Refusal::new(StatusCode::CONFLICT, format!("ICE cannot be restarted: {error}"))
        })?;
        let text = Fragment::answer(&answer, &self.candidates).ok_or_else(gone)?;
        let ours = attribute_of(&answer, "ice-ufrag").ok_or_else(gone)?;
        peer.berth().rename(ours);
        *described = Described { offer, tag: ours.to_owned() };
        Ok((text, ours.to_owned()))
    }

    /// Whether these are the credentials of the current description.
    pub(crate) async fn is_current(&self, fragment: &str, password: &str) -> bool {
        self.described.lock().await.offer.credentials() == Some((fragment, password))
    }
}

impl Live {
    /// Enters a session under `id`.
    pub(crate) fn enter(shared: &Arc<Shared>, id: String, parts: Parts) -> Self {
        let peer = Arc::new(parts.peer);
        let end = CancellationToken::new();
        let entry = Entry {
            credential: parts.credential,
            end: end.clone(),
            candidates: parts.candidates,
            peer: Arc::downgrade(&peer),
            described: tokio::sync::Mutex::new(Described { offer: parts.offer, tag: parts.fragment }),
        };
        shared.sessions.lock().insert(id.clone(), Arc::new(entry));
        shared.metrics.open(parts.kind);
        info!(path = %parts.path, kind = parts.kind.as_str(), session = %parts.session.id(), "WebRTC session");
        let notices = notices(shared, &end, &parts.session, peer.state(), Some(parts.seat.eviction()));
        Self {
            shared: Arc::clone(shared),
            path: parts.path,
            peer,
            session: parts.session,
            link: parts.link,
            notice: Mutex::new(notices),
            seat: parts.seat,
            end,
            id,
            kind: parts.kind,
        }
    }

    /// Waits for news about the session itself. Cancel-safe.
    pub(crate) async fn notice(&mut self) -> Notice {
        let notice = self.notice.get_mut().unwrap_or_else(PoisonError::into_inner).await;
        match notice {
            Notice::Connected => {
                self.seat.settle();
                self.shared.metrics.connect(true);
                self.notice =
                    Mutex::new(notices(&self.shared, &self.end, &self.session, self.peer.state(), None));
            }
            Notice::Over(End::Unconnected) => self.shared.metrics.connect(false),
            Notice::Over(_) => {}
        }
        notice
    }

    /// Ends the session and tells the peer.
    pub(crate) fn close(self, end: End) {
        match end {
            End::Unconnected => self.session.ending(EndReason::Lost),
            End::Stopping => self.session.ending(EndReason::Stopped),
            End::Finished => self.session.ending(EndReason::Finished),
            End::Unplayable => self.session.ending(EndReason::Failed),
            End::Gone | End::Deleted | End::Killed(_) | End::Replaced => {}
        }
        let asked = self.link.keyframes_asked.load(Relaxed);
        info!(path = %self.path, session = %self.session.id(), end = end.as_str(), asked, "WebRTC session ended");
        self.peer.close();
    }
}

/// The next notice; one that is `pending` may be that it has connected, or has to go without. Media wakes a session's
/// task all the time, and nobody is asked for that.
fn notices(
    shared: &Arc<Shared>,
    end: &CancellationToken,
    session: &Session,
    mut state: watch::Receiver<State>,
    pending: Option<Eviction>,
) -> Notices {
    let (end, stop, killed) = (end.clone(), shared.stop.clone(), session.killed());
    let deadline = Instant::now() + CONNECT_LIMIT;
    let next = async move {
        let connects = pending.is_some();
        let unconnected = async {
            let Some(eviction) = pending else { return std::future::pending().await };
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => {}
                () = poll_fn(|cx| eviction.poll(cx)) => {}
            }
        };
        let over = tokio::select! {
            biased;
            () = end.cancelled() => End::Deleted,
            () = stop.cancelled() => End::Stopping,
            reason = killed => End::Killed(reason),
            found = state.wait_for(|state| *state == State::Gone || connects && *state == State::Connected) => {
                if found.is_ok_and(|state| *state == State::Connected) {
                    return Notice::Connected;
                }
                End::Gone
            }
            () = unconnected => End::Unconnected,
        };
        Notice::Over(over)
    };
    Rarely::new(Box::pin(next))
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.sessions.lock().remove(&self.id);
        self.shared.metrics.close(self.kind);
    }
}
