//! One session's view of the directory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::{Announcement, Announcements, OriginShared};
use crate::{
    BroadcastConsumer, BroadcastInfo, Path, broadcast::BroadcastShared, session::SessionShared, usage::Side,
};

/// Finds and follows broadcasts for one session, and charges that session for what it reads. Clones are the same
/// session's.
#[derive(Debug, Clone)]
pub struct OriginConsumer {
    origin: Arc<OriginShared>,
    session: Arc<SessionShared>,
    /// The handles that are out, so that however a session finds a broadcast it is one viewer of it.
    handles: Arc<Mutex<BTreeMap<Path, Weak<BroadcastInfo>>>>,
}

/// Why a broadcast cannot be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// The session's grant does not cover the path.
    #[error("not allowed to watch this path")]
    Forbidden,
}

impl OriginConsumer {
    pub(crate) fn new(origin: Arc<OriginShared>, session: Arc<SessionShared>) -> Self {
        Self { origin, session, handles: Arc::default() }
    }

    /// Follows what is listed below `prefix`, beginning with what is there.
    #[must_use]
    pub fn announced(&self, prefix: &Path) -> Announcements {
        Announcements::new(self.clone(), prefix.clone())
    }

    /// The broadcast of that path, if it is there and the session may watch it.
    #[must_use]
    pub fn consume(&self, path: &Path) -> Option<BroadcastConsumer> {
        if !self.may_subscribe(path) {
            return None;
        }
        let broadcast = self.origin.lock().broadcasts.get(path).cloned()?;
        Some(self.consumer_of(&broadcast))
    }

    /// Waits until there is a broadcast of that path. How long to wait is the caller's business.
    ///
    /// # Errors
    /// [`ConsumeError::Forbidden`] when the session may not watch it.
    pub async fn wait(&self, path: &Path) -> Result<BroadcastConsumer, ConsumeError> {
        if !self.may_subscribe(path) {
            return Err(ConsumeError::Forbidden);
        }
        let mut announcements = self.announced(path);
        loop {
            if let Announcement::Started(broadcast) = announcements.next().await
                && broadcast.info().path() == path
            {
                return Ok(broadcast);
            }
        }
    }

    /// Whether the session may watch `path`.
    #[must_use]
    pub fn may_subscribe(&self, path: &Path) -> bool {
        self.session.grant().may_subscribe(path)
    }

    /// The id of this node in announcements.
    #[must_use]
    pub fn hop_id(&self) -> u64 {
        self.origin.config.hop_id
    }

    pub(super) fn origin(&self) -> &OriginShared {
        &self.origin
    }

    pub(super) fn consumer_of(&self, broadcast: &Arc<BroadcastShared>) -> BroadcastConsumer {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let known = handles.get(&broadcast.path).and_then(Weak::upgrade);
        let info = known.filter(|info| info.epoch() == broadcast.epoch).unwrap_or_else(|| {
            handles.retain(|_, handle| handle.strong_count() > 0);
            let meter = self.origin.registry.meter(&broadcast.path, &self.session, Side::Egress);
            let (path, protocol) = (broadcast.path.clone(), self.session.protocol());
            let info = Arc::new(BroadcastInfo::new(path, broadcast.epoch, protocol, meter));
            handles.insert(broadcast.path.clone(), Arc::downgrade(&info));
            info
        });
        BroadcastConsumer::new(Arc::clone(broadcast), info)
    }
}
