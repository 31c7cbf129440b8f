//! Ends what may not go on: expired and revoked credentials, and limits that are reached. Once a second it looks at the
//! sessions; nothing in the path of media knows of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use moqgate_core::{
    Denied, DenyReason, Direction, Grant, Identity, KillReason, Origin, Path, Request, SessionView,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::keys::{Keys, id_of};

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// What a bitrate is measured over: a few groups, so that a keyframe is no excess.
const WINDOW: Duration = Duration::from_secs(10);
/// How often used minutes are written down: what a killed process forgets.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);
/// How old a count of viewers may be when one more is let in. Counting looks at every session.
const COUNT_AGE: Duration = Duration::from_millis(500);
/// How old it may be when one more is refused: whoever reloads a page has just left.
const REFUSAL_AGE: Duration = Duration::from_millis(50);

/// Watches over the sessions. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Supervisor {
    origin: Origin,
    keys: Option<Keys>,
    watch: Arc<Mutex<Watch>>,
}

/// What has to be remembered between two looks.
#[derive(Debug, Default)]
struct Watch {
    /// Published bytes of a session, by the time since the Unix epoch.
    rates: HashMap<Arc<str>, VecDeque<(Duration, u64)>>,
    /// When time was last taken off the minutes.
    charged: Option<Duration>,
    /// Time that keys used and that is not written down yet.
    spent: BTreeMap<String, Duration>,
    /// Whether any credential limits its viewers: only then is anybody counted.
    is_limited: bool,
    /// Who watches, as of then, and those who were let in since.
    audience: Audience,
    counted: Option<Instant>,
}

impl Supervisor {
    /// Over the sessions of `origin`.
    pub(crate) fn new(origin: Origin, keys: Option<Keys>) -> Self {
        Self { origin, keys, watch: Arc::default() }
    }

    /// Looks until `stop`, and writes down what was used.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut saved = tokio::time::Instant::now();
        loop {
            let stopping = tokio::select! {
                biased;
                () = stop.cancelled() => true,
                () = tokio::time::sleep(INTERVAL) => false,
            };
            self.look(SystemTime::now());
            if stopping || saved.elapsed() >= SAVE_INTERVAL {
                saved = tokio::time::Instant::now();
                self.save().await;
            }
            if stopping {
                return;
            }
        }
    }

    /// Looks at every session once.
    pub(crate) fn look(&self, now: SystemTime) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let at = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let elapsed = watch.charged.replace(at).map_or(Duration::ZERO, |before| at.saturating_sub(before));
        let mut live = BTreeSet::new();
        watch.is_limited = false;
        self.origin.enforce(|session| {
            live.insert(Arc::clone(session.id));
            watch.is_limited |= session.grant.limits.viewers.is_some();
            None
        });
        watch.rates.retain(|id, _| live.contains(id));
        let mut audience = Audience::default();
        if watch.is_limited {
            watch.count(&self.origin, Instant::now());
            audience = watch.audience.clone();
        }
        let is_limited = watch.is_limited;
        let ended = self.origin.enforce(|session| {
            let reason = self.verdict(&mut watch, session, now, elapsed);
            let reason = reason.or_else(|| is_limited.then(|| audience.excess(session)).flatten())?;
            info!(session = %session.id, path = %session.request.path, %reason, "session ended");
            Some(reason)
        });
        drop(watch);
        if ended > 0 {
            tracing::debug!(ended, "sessions ended");
        }
    }

    fn verdict(
        &self,
        watch: &mut Watch,
        session: &SessionView<'_>,
        now: SystemTime,
        elapsed: Duration,
    ) -> Option<KillReason> {
        let grant = session.grant;
        if let (Some(keys), Some(id)) = (&self.keys, id_of(&grant.identity)) {
            let Some(key) = keys.by_id(id).filter(|key| key.revoked.is_none()) else {
                return Some(KillReason::Revoked);
            };
            let opened = SystemTime::UNIX_EPOCH + session.since;
            if key.changed > key.created && key.changed > opened {
                return Some(KillReason::Revoked);
            }
            if key.expires.is_some_and(|end| end <= now) {
                return Some(KillReason::Expired);
            }
            if let Some(left) = key.left() {
                let spent = watch.spent.entry(id.to_owned()).or_default();
                *spent += elapsed.min(now.duration_since(opened).unwrap_or_default());
                if *spent >= left {
                    return Some(KillReason::Minutes);
                }
            }
            return watch.bitrate(session, key.bitrate, now);
        }
        if grant.expires.is_some_and(|end| end <= now) {
            return Some(KillReason::Expired);
        }
        let at = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if grant.limits.duration.is_some_and(|most| at.saturating_sub(session.since) >= most) {
            return Some(KillReason::Minutes);
        }
        watch.bitrate(session, grant.limits.bitrate, now)
    }

    /// Whether one more may watch. Sessions that ask at the same moment may both be let in; the next look ends one.
    pub(crate) fn admit(&self, request: &Request, grant: &Grant, now: Instant) -> Result<(), Denied> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.is_limited |= grant.limits.viewers.is_some();
        if request.direction != Direction::Subscribe || !watch.is_limited {
            return Ok(());
        }
        let path = grant.path.as_ref().unwrap_or(&request.path);
        if watch.is_older(COUNT_AGE, now) {
            watch.count(&self.origin, now);
        }
        if watch.audience.is_full(path, grant) && watch.is_older(REFUSAL_AGE, now) {
            watch.count(&self.origin, now);
        }
        if watch.audience.is_full(path, grant) {
            let detail = "as many watch as the credential allows".to_owned();
            return Err(Denied { reason: DenyReason::Overloaded, detail });
        }
        watch.audience.add(path, &grant.identity);
        Ok(())
    }

    async fn save(&self) {
        let Some(keys) = &self.keys else { return };
        let spent: Vec<_> = {
            let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
            let seconds = |(id, spent): (&String, &mut Duration)| {
                let whole = spent.as_secs();
                *spent -= Duration::from_secs(whole);
                (whole > 0).then(|| (id.clone(), whole))
            };
            watch.spent.iter_mut().filter_map(seconds).collect()
        };
        if spent.is_empty() {
            return;
        }
        if let Err(error) = keys.spend(spent.clone()).await {
            warn!(%error, "used minutes are not written down yet");
            let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
            for (id, seconds) in spent {
                *watch.spent.entry(id).or_default() += Duration::from_secs(seconds);
            }
        }
    }
}

impl Watch {
    fn is_older(&self, age: Duration, now: Instant) -> bool {
        self.counted.is_none_or(|counted| now.saturating_duration_since(counted) > age)
    }

    fn count(&mut self, origin: &Origin, now: Instant) {
        let mut audience = Audience::default();
        origin.enforce(|session| {
            audience.count(session);
            None
        });
        (self.audience, self.counted) = (audience, Some(now));
    }

    /// Whether a session published more than it may, over the whole window.
    fn bitrate(
        &mut self,
        session: &SessionView<'_>,
        limit: Option<u64>,
        now: SystemTime,
    ) -> Option<KillReason> {
        let limit = limit?;
        let at = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let bytes = session.moved().ingress_bytes;
        let samples = self.rates.entry(Arc::clone(session.id)).or_default();
        samples.push_back((at, bytes));
        // The newest sample that is old enough is where the window begins.
        while samples.get(1).is_some_and(|(second, _)| at.saturating_sub(*second) >= WINDOW) {
            samples.pop_front();
        }
        let (since, before) = *samples.front()?;
        let window = at.saturating_sub(since);
        if window < WINDOW {
            return None;
        }
        let bits = bytes.saturating_sub(before).saturating_mul(8) as f64;
        (bits > limit as f64 * window.as_secs_f64()).then_some(KillReason::Bitrate)
    }
}

/// Who watches what, and how many may.
#[derive(Clone, Debug, Default)]
struct Audience {
    /// How many watch a broadcast, and the least that its publisher's credential allows.
    by_path: BTreeMap<Path, (u64, Option<u64>)>,
    /// How many watch with a credential.
    by_holder: BTreeMap<Arc<str>, u64>,
    /// How many were seen when their right to stay is looked at, in the order in which they came.
    seen_by_path: BTreeMap<Path, u64>,
    seen_by_holder: BTreeMap<Arc<str>, u64>,
}

impl Audience {
    fn count(&mut self, session: &SessionView<'_>) {
        let moved = session.moved();
        for path in &moved.publishing {
            let entry = self.by_path.entry(path.clone()).or_default();
            entry.1 = session.grant.limits.viewers;
        }
        let watched = watched(session, moved.watching);
        for path in &watched {
            self.by_path.entry(path.clone()).or_default().0 += 1;
        }
        if let (false, Identity::Credential(holder)) = (watched.is_empty(), &session.grant.identity) {
            *self.by_holder.entry(Arc::clone(holder)).or_default() += 1;
        }
    }

    /// One more will watch.
    fn add(&mut self, path: &Path, holder: &Identity) {
        self.by_path.entry(path.clone()).or_default().0 += 1;
        if let Identity::Credential(holder) = holder {
            *self.by_holder.entry(Arc::clone(holder)).or_default() += 1;
        }
    }

    /// Whether nobody more may watch `path` with `grant`.
    fn is_full(&self, path: &Path, grant: &Grant) -> bool {
        let reached = |count: u64, most: Option<u64>| most.is_some_and(|most| count >= most);
        let of_holder = match &grant.identity {
            Identity::Credential(holder) => self.by_holder.get(holder).copied().unwrap_or_default(),
            Identity::Anonymous(_) => 0,
        };
        let (of_path, most) = self.by_path.get(path).copied().unwrap_or_default();
        reached(of_holder, grant.limits.viewers) || reached(of_path, most)
    }

    /// Whether a session is one too many: who came first may stay.
    fn excess(&mut self, session: &SessionView<'_>) -> Option<KillReason> {
        let watched = watched(session, session.moved().watching);
        let mut is_excess = false;
        for path in &watched {
            let seen = self.seen_by_path.entry(path.clone()).or_default();
            *seen += 1;
            is_excess |= self.by_path.get(path).and_then(|(_, most)| *most).is_some_and(|most| *seen > most);
        }
        if let (false, Identity::Credential(holder)) = (watched.is_empty(), &session.grant.identity) {
            let seen = self.seen_by_holder.entry(Arc::clone(holder)).or_default();
            *seen += 1;
            is_excess |= session.grant.limits.viewers.is_some_and(|most| *seen > most);
        }
        is_excess.then_some(KillReason::Viewers)
    }
}

/// What a session watches, and what it is there to watch: a player that waits for its publisher counts.
fn watched(session: &SessionView<'_>, mut watching: Vec<Path>) -> Vec<Path> {
    if session.request.direction == Direction::Subscribe && !watching.contains(&session.request.path) {
        watching.push(session.request.path.clone());
    }
    watching
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
