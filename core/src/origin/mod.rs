//! The directory of live broadcasts.

mod announce;
mod consumer;
mod producer;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use announce::Listeners;
pub use announce::{Announcement, Announcements};
pub use consumer::{ConsumeError, OriginConsumer};
pub use producer::{OriginProducer, PublishError, PublishOptions};

use crate::{
    BroadcastSnapshot, KillReason, Path, SessionSnapshot, SessionView,
    broadcast::BroadcastShared,
    session::Sessions,
    track::Retention,
    usage::{Registry, Row, Snapshot},
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
}

impl Default for OriginConfig {
    fn default() -> Self {
        Self {
            hop_id: 1,
            retention_age: Duration::from_secs(10),
            retention_bytes: 32 << 20,
            ghost_after: Duration::from_secs(1),
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
    pub(crate) sessions: Sessions,
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
                config,
                registry: Registry::default(),
                sessions: Sessions::default(),
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

    /// Reads all usage, or that of one path.
    #[must_use]
    pub fn usage(&self, path: Option<&Path>) -> Snapshot {
        self.shared.registry.snapshot(path)
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
