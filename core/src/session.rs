//! One authorised connection of one peer.

use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, poll_fn},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, SystemTime},
};

use crate::{
    Admission, BroadcastInfo, Denied, Direction, Grant, Identity, Moved, Origin, OriginConsumer,
    OriginProducer, Path, Protocol, Request,
    moved::Meters,
    usage::{EndCell, EndReason, Side, counters::Gauge},
    waiters::{Seat, Waiters, wake_all},
};

/// Where gateways bring their peers: the directory, and who decides about entry to it.
#[derive(Clone)]
pub struct Gate {
    origin: Origin,
    admission: Arc<dyn Admission>,
}

/// One authorised connection. It is the only way to a producer or a consumer; dropping it closes its gauge.
#[derive(Debug)]
pub struct Session {
    origin: Origin,
    shared: Arc<SessionShared>,
    gauge: Arc<Gauge>,
    consumer: OriginConsumer,
}

/// Why a session was ended from outside of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum KillReason {
    /// An operator ended it.
    Operator,
    /// Its publisher came back on another connection.
    TakenOver,
    /// Its credential expired.
    Expired,
    /// Its credential was revoked.
    Revoked,
    /// It published more per second than it may.
    Bitrate,
    /// More watch than may.
    Viewers,
    /// Its minutes are used up.
    Minutes,
}

impl KillReason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Operator,
        Self::TakenOver,
        Self::Expired,
        Self::Revoked,
        Self::Bitrate,
        Self::Viewers,
        Self::Minutes,
    ];

    /// One word for the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::TakenOver => "taken_over",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Bitrate => "bitrate",
            Self::Viewers => "viewers",
            Self::Minutes => "minutes",
        }
    }
}

impl fmt::Display for KillReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "ended by the operator",
            Self::TakenOver => "the publisher came back on another connection",
            Self::Expired => "the credential has expired",
            Self::Revoked => "the credential was revoked",
            Self::Bitrate => "the bitrate is above the limit of the credential",
            Self::Viewers => "more watch than the credential allows",
            Self::Minutes => "the minutes of the credential are used up",
        })
    }
}

/// What a gateway measures of one connection, for the API and the metrics. Never billed.
pub trait LinkStats: Send + Sync {
    /// Names in snake case with their unit last (`rtt_ms`), and the values of now.
    fn snapshot(&self) -> Vec<(&'static str, f64)>;
}

/// One live session, as the API shows it.
#[derive(Debug, Clone)]
pub struct SessionSnapshot {
    /// The id, unique for the life of the process.
    pub id: Arc<str>,
    /// How it is connected.
    pub protocol: Protocol,
    /// What it is for.
    pub direction: Direction,
    /// What it asked for.
    pub path: Path,
    /// The label that splits usage.
    pub tier: Arc<str>,
    /// Who pays.
    pub tenant: Arc<str>,
    /// Whose credential it showed; `None` without one.
    pub holder: Option<Arc<str>>,
    /// Where the peer is.
    pub peer: SocketAddr,
    /// When it was opened, as a time since the Unix epoch.
    pub since: Duration,
    /// What its gateway measures.
    pub link: Vec<(&'static str, f64)>,
}

/// A live session, as whoever watches over sessions sees it.
#[derive(Debug, Clone, Copy)]
pub struct SessionView<'a> {
    /// The id, unique for the life of the process.
    pub id: &'a Arc<str>,
    /// What it asked for.
    pub request: &'a Request,
    /// What it may do.
    pub grant: &'a Grant,
    /// When it was opened, as a time since the Unix epoch.
    pub since: Duration,
    meters: &'a Meters,
}

/// Every live session of an origin.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    next: AtomicU64,
    live: Mutex<BTreeMap<u64, Weak<SessionShared>>>,
    /// How many were ended from outside.
    killed: Mutex<BTreeMap<(Protocol, KillReason), u64>>,
}

/// What is known of a session wherever its handles are.
pub(crate) struct SessionShared {
    number: u64,
    id: Arc<str>,
    request: Request,
    grant: Grant,
    since: Duration,
    link: Option<Arc<dyn LinkStats>>,
    killed: Mutex<Killed>,
    meters: Meters,
    end: EndCell,
}

#[derive(Debug, Default)]
struct Killed {
    reason: Option<KillReason>,
    waiters: Waiters,
}

impl Gate {
    /// A gate to `origin` where `admission` decides.
    #[must_use]
    pub fn new(origin: Origin, admission: Arc<dyn Admission>) -> Self {
        Self { origin, admission }
    }

    /// The directory behind the gate.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Asks whether a peer may come in.
    ///
    /// # Errors
    /// [`Denied`], with a reason that the peer's user can act on.
    pub async fn admit(&self, request: &Request) -> Result<Grant, Denied> {
        self.admission.admit(request).await
    }

    /// Opens a session for what was granted. `now` is the wall clock; `link` is what the gateway measures.
    #[must_use]
    pub fn open(
        &self,
        mut request: Request,
        grant: Grant,
        now: SystemTime,
        link: Option<Arc<dyn LinkStats>>,
    ) -> Session {
        let origin = &self.origin.shared;
        let gauge = origin.registry.session_gauge(&grant.tier, request.protocol);
        gauge.open();
        if let Some(path) = &grant.path {
            request.path = path.clone();
        }
        let number = origin.sessions.next.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(SessionShared {
            number,
            id: format!("{}-{:x}-{number}", request.protocol.as_str(), origin.config.hop_id).into(),
            request,
            grant,
            since: now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            link,
            killed: Mutex::default(),
            meters: Meters::default(),
            end: EndCell::default(),
        });
        origin.sessions.lock().insert(number, Arc::downgrade(&shared));
        let consumer = OriginConsumer::new(Arc::clone(origin), Arc::clone(&shared));
        Session { origin: self.origin.clone(), shared, gauge, consumer }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Session {
    /// What rides with a producer of this session that claims no path.
    pub(crate) fn ingress_info(&self, path: &Path, epoch: u64) -> BroadcastInfo {
        let meter = self.origin.shared.registry.meter(path, &self.shared, Side::Ingress);
        BroadcastInfo::new(path.clone(), epoch, self.shared.protocol(), meter)
    }

    /// The id, unique for the life of the process.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.shared.id
    }

    /// What the session may do.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.shared.grant
    }

    /// The broadcast that it is about: what it asked for, or what its grant says that it meant.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.request.path
    }

    /// Says why the session is about to end, for the ledger. The first reason counts, one from outside too; without any the
    /// peer has left.
    pub fn ending(&self, reason: EndReason) {
        let _ = self.shared.end.set(reason);
    }

    /// Says the same from elsewhere.
    #[must_use]
    pub fn ender(&self) -> Ender {
        Ender(Arc::clone(&self.shared.end))
    }

    /// Publishes for this session.
    #[must_use]
    pub fn publisher(&self) -> OriginProducer {
        OriginProducer::new(Arc::clone(&self.origin.shared), Arc::clone(&self.shared))
    }

    /// Watches for this session.
    #[must_use]
    pub fn consumer(&self) -> OriginConsumer {
        self.consumer.clone()
    }

    /// Waits until the session is ended from outside: its gateway then closes the connection with that reason.
    pub fn killed(&self) -> impl Future<Output = KillReason> + Send + use<> {
        struct SeatGuard(Arc<SessionShared>, Option<Seat>);
        impl Drop for SeatGuard {
            fn drop(&mut self) {
                self.0.lock().waiters.leave(&mut self.1);
            }
        }
        let mut seat = SeatGuard(Arc::clone(&self.shared), None);
        poll_fn(move |cx| {
            let SeatGuard(shared, seat) = &mut seat;
            let mut killed = shared.lock();
            if let Some(reason) = killed.reason {
                return Poll::Ready(reason);
            }
            killed.waiters.park(seat, cx.waker());
            Poll::Pending
        })
    }
}

/// Says why a session ends, where that is known and the session is not. It keeps nothing alive.
#[derive(Debug, Clone)]
pub struct Ender(EndCell);

impl Ender {
    /// As [`Session::ending`].
    pub fn ending(&self, reason: EndReason) {
        let _ = self.0.set(reason);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let is_stopping = self.origin.shared.stopping.load(Ordering::Relaxed);
        self.ending(if is_stopping { EndReason::Stopped } else { EndReason::Left });
        self.origin.shared.sessions.lock().remove(&self.shared.number);
        self.gauge.close();
    }
}

impl SessionShared {
    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.request.protocol
    }

    pub(crate) fn grant(&self) -> &Grant {
        &self.grant
    }

    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
    }

    pub(crate) fn since(&self) -> Duration {
        self.since
    }

    pub(crate) fn end(&self) -> &EndCell {
        &self.end
    }

    /// Ends the session; the first reason counts. Whether this was it.
    fn kill(&self, reason: KillReason) -> bool {
        let _ = self.end.set(EndReason::Killed(reason));
        let mut woken = Vec::new();
        let first = {
            let mut killed = self.lock();
            killed.waiters.take(&mut woken);
            let first = killed.reason.is_none();
            killed.reason.get_or_insert(reason);
            first
        };
        wake_all(&mut woken);
        first
    }

    fn view(&self) -> SessionView<'_> {
        SessionView {
            id: &self.id,
            request: &self.request,
            grant: &self.grant,
            since: self.since,
            meters: &self.meters,
        }
    }

    fn snapshot(&self) -> SessionSnapshot {
        SessionSnapshot {
            id: Arc::clone(&self.id),
            protocol: self.request.protocol,
            direction: self.request.direction,
            path: self.request.path.clone(),
            tier: Arc::clone(&self.grant.tier),
            tenant: Arc::clone(&self.grant.tenant),
            holder: match &self.grant.identity {
                Identity::Credential(holder) => Some(Arc::clone(holder)),
                Identity::Anonymous(_) => None,
            },
            peer: self.request.peer,
            since: self.since,
            link: self.link.as_ref().map(|link| link.snapshot()).unwrap_or_default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Killed> {
        self.killed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SessionShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SessionView<'_> {
    /// What it has moved so far, and what it is doing.
    #[must_use]
    pub fn moved(&self) -> Moved {
        self.meters.read()
    }
}

impl Sessions {
    pub(crate) fn snapshot(&self) -> Vec<SessionSnapshot> {
        let live: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        live.iter().map(|session| session.snapshot()).collect()
    }

    pub(crate) fn kill(&self, id: &str, reason: KillReason) -> bool {
        let session = self.lock().values().filter_map(Weak::upgrade).find(|session| &*session.id == id);
        session.inspect(|session| self.end(session, reason)).is_some()
    }

    /// Ends a session, and counts it.
    pub(crate) fn end(&self, session: &SessionShared, reason: KillReason) {
        if session.kill(reason) {
            let mut killed = self.killed.lock().unwrap_or_else(PoisonError::into_inner);
            *killed.entry((session.protocol(), reason)).or_default() += 1;
        }
    }

    /// How many were ended from outside, by protocol and reason.
    pub(crate) fn killed(&self) -> BTreeMap<(Protocol, KillReason), u64> {
        self.killed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn enforce(&self, mut verdict: impl FnMut(&SessionView<'_>) -> Option<KillReason>) -> usize {
        let live: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        let mut ended = 0;
        for session in live {
            if let Some(reason) = verdict(&session.view()) {
                self.end(&session, reason);
                ended += 1;
            }
        }
        ended
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Weak<SessionShared>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
