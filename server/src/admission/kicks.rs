//! Who was sent away by an operator, and may not come back yet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moqgate_core::{Direction, Identity, Path, SessionView};

/// Who is remembered at most; more than an operator sends away in an hour. The oldest is forgotten first.
const KICKS_MAX: usize = 1024;

/// Who has to stay away. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kicks(Arc<Mutex<VecDeque<Kick>>>);

#[derive(Debug)]
struct Kick {
    who: Identity,
    path: Path,
    direction: Direction,
    until: Instant,
}

impl Kicks {
    /// Keeps the peer of a session away for `time`.
    pub(crate) fn add(&self, session: &SessionView<'_>, time: Duration, now: Instant) {
        let mut kicks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kicks.retain(|kick| kick.until > now);
        if time.is_zero() {
            return;
        }
        if kicks.len() >= KICKS_MAX {
            kicks.pop_front();
        }
        kicks.push_back(Kick {
            who: session.grant.identity.clone(),
            path: session.request.path.clone(),
            direction: session.request.direction,
            until: now + time,
        });
    }

    /// How long whoever would be `who` still has to stay away from `path`.
    pub(super) fn wait(
        &self,
        who: &Identity,
        path: &Path,
        direction: Direction,
        now: Instant,
    ) -> Option<Duration> {
        let kicks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let concerned = |kick: &&Kick| {
            kick.until > now
                && kick.who == *who
                && kick.is_about(path)
                && (kick.direction == direction
                    || kick.direction == Direction::Both
                    || direction == Direction::Both)
        };
        kicks.iter().filter(concerned).map(|kick| kick.until.duration_since(now)).max()
    }
}

impl Kick {
    /// The path itself, and for a credential also a MoQ session that could reach it. An address may be many people's.
    fn is_about(&self, path: &Path) -> bool {
        match &self.who {
            Identity::Credential(_) => path.has_prefix(&self.path) || self.path.has_prefix(path),
            Identity::Anonymous(_) => *path == self.path,
        }
    }
}
