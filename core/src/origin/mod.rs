//! The directory of live broadcasts.

mod announce;
mod consumer;
mod producer;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use announce::Listeners;
pub use announce::{Announcement, Announcements};
pub use consumer::{ConsumeError, OriginConsumer};
pub use producer::{OriginProducer, PublishError, PublishOptions};

use crate::{
    BroadcastSnapshot, KillReason, Latency, LatencyTotals, Objective, ObjectiveReading, Path, Protocol,
    SessionSnapshot, SessionView,
    broadcast::BroadcastShared,
    latency::Latencies,
    session::Sessions,
    track::Retention,
    usage::{Bookkeeping, Registry, Row, Snapshot, Statement},
    waiters::wake_all,
};

/// How an origin keeps what passes through it.
#[derive(Debug, Clone)]
pub struct OriginConfig {
    /// The id of this node in announcements: random, not 0, below 2^53, and another one after every start.
    pub hop_id: u64,
    /// How long groups are kept for late readers and fetches, unless the track asks for less. The newest group of a
    /// track is always kept.
    pub retention_age: Duration,
    /// How many bytes a track keeps beside its newest group: payloads, and what a frame costs besides.
    pub retention_bytes: usize,
    /// How long an anonymous publisher must have been silent before another from the same address may replace it.
    pub ghost_after: Duration,
    /// What latency is promised.
    pub objectives: Vec<Objective>,
    /// How usage is kept session by session, for [`Origin::settle`]. `None` where nobody calls that.
    pub bookkeeping: Option<Bookkeeping>,
}

impl Default for OriginConfig {
    fn default() -> Self {
        Self {
            hop_id: 1,
            retention_age: Duration::from_secs(10),
            retention_bytes: 32 << 20,
            ghost_after: Duration::from_secs(1),
            objectives: Vec::new(),
            bookkeeping: None,
        }
    }
}

/// The directory of one process. Clones are the same directory.
#[derive(Debug, Clone)]
pub struct Origin {
    pub(crate) shared: Arc<OriginShared>,
}

#[derive(Debug)]
pub(crate) struct OriginShared {
    pub(crate) config: OriginConfig,
    pub(crate) registry: Registry,
    pub(crate) latencies: Arc<Latencies>,
    pub(crate) sessions: Sessions,
    pub(crate) stopping: AtomicBool,
    next_epoch: AtomicU64,
    state: Mutex<Directory>,
}

#[derive(Debug, Default)]
struct Directory {
    broadcasts: BTreeMap<Path, Arc<BroadcastShared>>,
    listeners: Listeners,
}

impl Origin {
    /// An empty directory.
    #[must_use]
    pub fn new(config: OriginConfig) -> Self {
        Self {
            shared: Arc::new(OriginShared {
                latencies: Arc::new(Latencies::new(config.objectives.clone())),
                registry: Registry::new(config.bookkeeping.clone()),
                config,
                sessions: Sessions::default(),
                stopping: AtomicBool::new(false),
                next_epoch: AtomicU64::new(1),
                state: Mutex::default(),
            }),
        }
    }

    /// The id of this node in announcements.
    #[must_use]
    pub fn hop_id(&self) -> u64 {
        self.shared.config.hop_id
    }

    /// Every live broadcast, sorted by path.
    #[must_use]
    pub fn broadcasts(&self) -> Vec<BroadcastSnapshot> {
        self.shared.lock().broadcasts.values().map(|broadcast| broadcast.snapshot()).collect()
    }

    /// Every live session, in the order in which they came.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionSnapshot> {
        self.shared.sessions.snapshot()
    }

    /// The latest latencies of every live broadcast, sorted by broadcast, then by the name of the transport.
    #[must_use]
    pub fn latencies(&self) -> Vec<Latency> {
        let broadcasts: Vec<_> = self.shared.lock().broadcasts.values().cloned().collect();
        let mut latest: Vec<_> = broadcasts.iter().flat_map(|broadcast| broadcast.latency.latest()).collect();
        latest
            .sort_by(|a, b| (&a.broadcast, a.transport.as_str()).cmp(&(&b.broadcast, b.transport.as_str())));
        latest
    }

    /// Every latency so far, those of broadcasts that have gone included.
    #[must_use]
    pub fn latency_totals(&self) -> Vec<LatencyTotals> {
        self.shared.latencies.totals()
    }

    /// How the configured objectives fare, in their order.
    #[must_use]
    pub fn objectives(&self, now: Instant) -> Vec<ObjectiveReading> {
        self.shared.latencies.objectives(now)
    }

    /// Ends a session. `false` when there is none with that id.
    #[must_use]
    pub fn kill(&self, session: &str, reason: KillReason) -> bool {
        self.shared.sessions.kill(session, reason)
    }

    /// Shows every live session to `verdict`, in the order in which they came, and ends those that it gives a reason
    /// for. Returns how many that were.
    pub fn enforce(&self, verdict: impl FnMut(&SessionView<'_>) -> Option<KillReason>) -> usize {
        self.shared.sessions.enforce(verdict)
    }

    /// How many sessions were ended from outside of their connections so far, by protocol and reason.
    #[must_use]
    pub fn killed(&self) -> BTreeMap<(Protocol, KillReason), u64> {
        self.shared.sessions.killed()
    }

    /// Reads all usage, or that of one path.
    #[must_use]
    pub fn usage(&self, path: Option<&Path>) -> Snapshot {
        self.shared.registry.snapshot(path)
    }

    /// What every session used since this was last called. A statement is given out once: whoever calls this answers
    /// for it. Empty where no books are kept.
    #[must_use]
    pub fn settle(&self) -> Vec<Statement> {
        self.shared.registry.books().map(|books| books.settle()).unwrap_or_default()
    }

    /// How many that ended were put together with others, because too many had ended before [`settle`](Self::settle) was
    /// called.
    #[must_use]
    pub fn folded(&self) -> u64 {
        self.shared.registry.books().map(|books| books.folded()).unwrap_or_default()
    }

    /// From now on sessions end because this process stops, where nothing else is said.
    pub fn stopping(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }

    /// Takes rows that no session can write to any more out of memory, if `idle` says that they have been idle for
    /// long enough, and returns their last reading: whoever calls this answers for it.
    pub fn prune_usage(&self, idle: impl Fn(&Row) -> bool) -> Vec<Row> {
        self.shared.registry.prune(idle)
    }
}

impl OriginShared {
    pub(crate) fn retention(&self) -> Retention {
        Retention { age: self.config.retention_age, bytes: self.config.retention_bytes }
    }

    /// Tells everybody who listens that something about `path` may be different.
    pub(crate) fn changed(&self, path: &Path) {
        let mut woken = Vec::new();
        self.lock().listeners.changed(path, &mut woken);
        wake_all(&mut woken);
    }

    /// Takes a broadcast out, if it is still the one under its path.
    pub(crate) fn withdraw(&self, broadcast: &Arc<BroadcastShared>) {
        let mut woken = Vec::new();
        {
            let mut state = self.lock();
            let current = state.broadcasts.get(&broadcast.path);
            if !current.is_some_and(|current| Arc::ptr_eq(current, broadcast)) {
                return;
            }
            state.broadcasts.remove(&broadcast.path);
            state.listeners.changed(&broadcast.path, &mut woken);
        }
        wake_all(&mut woken);
    }

    fn lock(&self) -> MutexGuard<'_, Directory> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
