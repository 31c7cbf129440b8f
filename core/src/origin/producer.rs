//! Publishing into the directory.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::OriginShared;
use crate::{
    BroadcastInfo, BroadcastProducer, Cost, Identity, KillReason, Path, Route,
    broadcast::{BroadcastShared, NewBroadcast},
    session::SessionShared,
    usage::Side,
    waiters::wake_all,
};

/// Publishes broadcasts for one session, and charges that session for what it writes. Clones are the same session's.
#[derive(Debug, Clone)]
pub struct OriginProducer {
    origin: Arc<OriginShared>,
    session: Arc<SessionShared>,
}

/// How a broadcast is announced.
#[derive(Debug, Clone, Default)]
pub struct PublishOptions {
    /// The nodes that it passed, oldest first; empty for what originates here.
    pub hops: Vec<u64>,
    /// What it costs to pull it.
    pub cost: Cost,
    /// Readers may ask for tracks that are not there yet:
    /// [`requested_track`](BroadcastProducer::requested_track) hands those requests out.
    pub dynamic: bool,
}

/// Why a path cannot be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The session's grant does not cover the path.
    #[error("not allowed to publish this path")]
    Forbidden,
    /// Another publisher holds the path.
    #[error("the path is already published")]
    Busy,
}

impl OriginProducer {
    pub(crate) fn new(origin: Arc<OriginShared>, session: Arc<SessionShared>) -> Self {
        Self { origin, session }
    }

    /// Claims `path` and announces it.
    ///
    /// A publisher may take over what it left behind: the holder of the same credential at once, an anonymous one from
    /// the same address once the old one has fallen silent. The old session is ended.
    ///
    /// # Errors
    /// [`PublishError`] when the session may not, or somebody else holds the path.
    pub fn publish(
        &self,
        path: &Path,
        options: PublishOptions,
        now: Instant,
    ) -> Result<BroadcastProducer, PublishError> {
        if !self.session.grant().may_publish(path) {
            return Err(PublishError::Forbidden);
        }
        let epoch = self.origin.next_epoch.fetch_add(1, Ordering::Relaxed);
        let base = self.origin.latencies.base(now);
        let shared = Arc::new(BroadcastShared::new(NewBroadcast {
            path: path.clone(),
            epoch,
            session: &self.session,
            since: self.session.since(),
            dynamic: options.dynamic,
            retention: self.origin.retention(),
            route: Route { hops: options.hops, cost: options.cost },
            latency: self.origin.latencies.broadcast(path.clone()),
            base,
            now,
        }));
        let ghost = self.claim(path, &shared, now)?;
        if let Some(ghost) = ghost {
            ghost.end();
            if let Some(session) = ghost.session.upgrade() {
                self.origin.sessions.end(&session, KillReason::TakenOver);
            }
        }
        let meter = self.origin.registry.meter(path, &self.session, Side::Ingress);
        let info = BroadcastInfo::new(path.clone(), epoch, self.session.protocol(), meter);
        Ok(BroadcastProducer::new(Arc::clone(&self.origin), shared, info))
    }

    /// The id of this node in announcements.
    #[must_use]
    pub fn hop_id(&self) -> u64 {
        self.origin.config.hop_id
    }

    /// Puts the broadcast in its place, and returns the one that it replaces.
    fn claim(
        &self,
        path: &Path,
        shared: &Arc<BroadcastShared>,
        now: Instant,
    ) -> Result<Option<Arc<BroadcastShared>>, PublishError> {
        let mut woken = Vec::new();
        let ghost = {
            let mut state = self.origin.lock();
            if let Some(holder) = state.broadcasts.get(path)
                && !self.may_replace(holder, now)
            {
                return Err(PublishError::Busy);
            }
            let ghost = state.broadcasts.insert(path.clone(), Arc::clone(shared));
            state.listeners.changed(path, &mut woken);
            ghost
        };
        wake_all(&mut woken);
        Ok(ghost)
    }

    fn may_replace(&self, holder: &BroadcastShared, now: Instant) -> bool {
        let Some(session) = holder.session.upgrade() else { return true };
        if Arc::ptr_eq(&session, &self.session) {
            return false;
        }
        match (&session.grant().identity, &self.session.grant().identity) {
            (Identity::Credential(theirs), Identity::Credential(ours)) => theirs == ours,
            (Identity::Anonymous(theirs), Identity::Anonymous(ours)) => {
                theirs == ours && holder.quiet_for(now) >= self.origin.config.ghost_after
            }
            (Identity::Credential(_), Identity::Anonymous(_))
            | (Identity::Anonymous(_), Identity::Credential(_)) => false,
        }
    }
}
