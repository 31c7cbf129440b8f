//! A broadcast: the tracks of one publisher under one path.

mod consumer;
mod producer;
mod request;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

pub use consumer::{BroadcastConsumer, DerivedTrack};
pub use producer::{BroadcastProducer, CreateTrackError};
pub(crate) use request::Pending;
pub use request::TrackRequest;

use crate::{
    Path, Protocol, TrackError, TrackInfo,
    latency::BroadcastLatency,
    session::SessionShared,
    time::micros_since,
    track::{Retention, TrackShared},
    usage::Meter,
    waiters::{Waiters, wake_all},
};

/// Most tracks of one broadcast: 64 renditions a section, and room for data.
pub(crate) const TRACKS_MAX: usize = 256;

/// What rides with every handle of a broadcast, down to the group: who pays for what moves.
///
/// Immutable behind its `Arc`. A producer's handle charges ingress; every session that watches has one of its own that
/// charges its egress.
#[derive(Debug)]
pub struct BroadcastInfo {
    path: Path,
    epoch: u64,
    protocol: Protocol,
    pub(crate) meter: Meter,
    live_tracks: AtomicUsize,
    announced: AtomicBool,
}

impl BroadcastInfo {
    pub(crate) fn new(path: Path, epoch: u64, protocol: Protocol, meter: Meter) -> Self {
        meter.announced.open();
        Self {
            path,
            epoch,
            protocol,
            meter,
            live_tracks: AtomicUsize::new(0),
            announced: AtomicBool::new(true),
        }
    }

    /// The name of the broadcast.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Distinguishes this broadcast from others that had or will have the same path.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How the session is connected that this handle was made for.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Closes the announced gauge, once.
    pub(crate) fn unannounce(&self) {
        if self.announced.swap(false, Ordering::AcqRel) {
            self.meter.announced.close();
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.live_tracks.load(Ordering::Relaxed) > 0
    }
}

impl Drop for BroadcastInfo {
    fn drop(&mut self) {
        self.unannounce();
    }
}

/// Holds the gauges of one track open: producers of it make a publisher active, readers of it a viewer.
#[derive(Debug)]
pub(crate) struct LiveTrack {
    info: Arc<BroadcastInfo>,
    /// What is read; none for a producer.
    watched: Option<Arc<BroadcastShared>>,
    /// Its session is part of the audience.
    audience: bool,
}

impl LiveTrack {
    pub(crate) fn producer(info: Arc<BroadcastInfo>) -> Self {
        Self::open(info, None, false)
    }

    pub(crate) fn reader(info: Arc<BroadcastInfo>, watched: Arc<BroadcastShared>) -> Self {
        Self::open(info, Some(watched), true)
    }

    /// A reader that makes something of the broadcast, and is nobody who watches.
    pub(crate) fn maker(info: Arc<BroadcastInfo>, watched: Arc<BroadcastShared>) -> Self {
        Self::open(info, Some(watched), false)
    }

    fn open(info: Arc<BroadcastInfo>, watched: Option<Arc<BroadcastShared>>, audience: bool) -> Self {
        info.meter.subscriptions.open();
        if info.live_tracks.fetch_add(1, Ordering::AcqRel) == 0 {
            info.meter.activate();
        }
        Self { info, watched, audience }
    }

    pub(crate) fn info(&self) -> &Arc<BroadcastInfo> {
        &self.info
    }

    /// The same for all readers of a session, while any of them lives.
    pub(crate) fn viewer(&self) -> ViewerId {
        if self.audience { ViewerId(Arc::as_ptr(&self.info) as usize) } else { ViewerId::NOBODY }
    }

    /// Where readers note how long their frames took.
    pub(crate) fn latency(&self) -> Option<&BroadcastLatency> {
        Some(&self.watched.as_ref()?.latency)
    }
}

impl Drop for LiveTrack {
    fn drop(&mut self) {
        self.info.meter.subscriptions.close();
        if self.info.live_tracks.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.info.meter.deactivate();
        }
    }
}

/// One session's view of a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ViewerId(usize);

impl ViewerId {
    /// Who reads without being part of the audience.
    pub(crate) const NOBODY: Self = Self(0);
}

/// When a broadcast last moved.
#[derive(Debug)]
pub(crate) struct Activity {
    base: Instant,
    last_micros: AtomicU64,
}

impl Activity {
    fn new(base: Instant, now: Instant) -> Self {
        Self { base, last_micros: AtomicU64::new(micros_since(base, now)) }
    }

    /// Microseconds since the start of time.
    pub(crate) fn micros(&self, at: Instant) -> u64 {
        micros_since(self.base, at)
    }

    pub(crate) fn pushed(&self, received_micros: u64) {
        self.last_micros.store(received_micros, Ordering::Relaxed);
    }

    fn quiet_for(&self, now: Instant) -> Duration {
        let last = self.last_micros.load(Ordering::Relaxed);
        Duration::from_micros(self.micros(now).saturating_sub(last))
    }
}

/// The price of pulling a broadcast over a route (moq-lite-06).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cost {
    /// While it already flows here.
    pub warm: u64,
    /// While it has to be started.
    pub cold: u64,
}

/// How a broadcast came here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Route {
    /// Ids of the nodes that it passed, oldest first; the first one is its original publisher.
    pub hops: Vec<u64>,
    /// What it costs to pull it.
    pub cost: Cost,
}

/// One track, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrackStatus {
    /// The name inside the broadcast.
    pub name: String,
    /// `video`, `audio` or `data`.
    pub kind: String,
    /// The WebCodecs string, or the name of what is carried verbatim.
    pub codec: String,
    /// Coded width in pixels.
    pub width: Option<u32>,
    /// Coded height in pixels.
    pub height: Option<u32>,
}

/// One live broadcast, as the API shows it.
#[derive(Debug, Clone)]
pub struct BroadcastSnapshot {
    /// Its name.
    pub path: Path,
    /// How it came in.
    pub protocol: Protocol,
    /// The session that publishes it.
    pub session: Arc<str>,
    /// When that session published it, as a time since the Unix epoch.
    pub since: Duration,
    /// The audience: sessions that read at least one track, and where such a session is a relay's, all viewers behind it.
    pub viewers: u64,
    /// What is in it, as far as this process knows.
    pub tracks: Vec<TrackStatus>,
}

/// What the producer and all consumers of a broadcast share.
#[derive(Debug)]
pub(crate) struct BroadcastShared {
    pub(crate) path: Path,
    pub(crate) epoch: u64,
    pub(crate) protocol: Protocol,
    pub(crate) session: Weak<SessionShared>,
    session_id: Arc<str>,
    since: Duration,
    dynamic: bool,
    retention: Retention,
    activity: Arc<Activity>,
    pub(crate) latency: BroadcastLatency,
    state: Mutex<BroadcastState>,
}

#[derive(Debug, Default)]
struct BroadcastState {
    tracks: BTreeMap<Arc<str>, Slot>,
    requested: VecDeque<Arc<str>>,
    route: Route,
    route_version: u64,
    status: Vec<TrackStatus>,
    /// At least one track was opened. Before that a broadcast has not said what it holds, and readers wait.
    opened: bool,
    ended: bool,
    /// Tracks that were made of this broadcast, for the audience.
    derived: Vec<Weak<TrackShared>>,
    waiting_consumers: Waiters,
    waiting_producer: Waiters,
}

#[derive(Debug)]
enum Slot {
    Requested(Arc<Pending>),
    Live(Arc<TrackShared>),
}

/// What a new broadcast is made of.
pub(crate) struct NewBroadcast<'a> {
    pub(crate) path: Path,
    pub(crate) epoch: u64,
    pub(crate) session: &'a Arc<SessionShared>,
    pub(crate) since: Duration,
    pub(crate) dynamic: bool,
    pub(crate) retention: Retention,
    pub(crate) route: Route,
    pub(crate) latency: BroadcastLatency,
    /// The start of time.
    pub(crate) base: Instant,
    pub(crate) now: Instant,
}

impl BroadcastShared {
    pub(crate) fn new(new: NewBroadcast<'_>) -> Self {
        Self {
            path: new.path,
            epoch: new.epoch,
            protocol: new.session.protocol(),
            session: Arc::downgrade(new.session),
            session_id: Arc::clone(new.session.id()),
            since: new.since,
            dynamic: new.dynamic,
            retention: new.retention,
            activity: Arc::new(Activity::new(new.base, new.now)),
            latency: new.latency,
            state: Mutex::new(BroadcastState { route: new.route, ..BroadcastState::default() }),
        }
    }

    /// Keeps a track that was made of this broadcast in mind while it lives.
    pub(crate) fn note_derived(&self, track: &Arc<TrackShared>) {
        let mut state = self.lock();
        state.derived.retain(|known| known.strong_count() > 0);
        state.derived.push(Arc::downgrade(track));
    }

    pub(crate) fn new_track(&self, info: TrackInfo) -> TrackShared {
        TrackShared::new(info, self.retention, Arc::clone(&self.activity))
    }

    pub(crate) fn snapshot(&self) -> BroadcastSnapshot {
        BroadcastSnapshot {
            path: self.path.clone(),
            protocol: self.protocol,
            session: Arc::clone(&self.session_id),
            since: self.since,
            viewers: self.audience(),
            tracks: self.lock().status.clone(),
        }
    }

    /// How many watch, here and behind relays. A session counts once, with the largest number that any of its readers
    /// stands for: relays report track by track.
    pub(crate) fn audience(&self) -> u64 {
        let tracks: Vec<_> = {
            let state = self.lock();
            let live = state.tracks.values().filter_map(|slot| match slot {
                Slot::Live(track) => Some(Arc::clone(track)),
                Slot::Requested(_) => None,
            });
            live.chain(state.derived.iter().filter_map(Weak::upgrade)).collect()
        };
        let mut viewers = BTreeMap::new();
        for track in tracks {
            track.count_viewers(&mut viewers);
        }
        viewers.values().fold(0, |sum: u64, weight| sum.saturating_add(*weight))
    }

    pub(crate) fn quiet_for(&self, now: Instant) -> Duration {
        self.activity.quiet_for(now)
    }

    pub(crate) fn route(&self) -> (Route, u64) {
        let state = self.lock();
        (state.route.clone(), state.route_version)
    }

    pub(crate) fn route_version(&self) -> u64 {
        self.lock().route_version
    }

    /// Ends the broadcast: every track closes, every waiting future is told.
    pub(crate) fn end(&self) {
        let mut woken = Vec::new();
        let tracks: Vec<_> = {
            let mut state = self.lock();
            if std::mem::replace(&mut state.ended, true) {
                return;
            }
            state.waiting_consumers.take(&mut woken);
            state.waiting_producer.take(&mut woken);
            let slots = state.tracks.values();
            slots
                .filter_map(|slot| match slot {
                    Slot::Live(track) => Some(Arc::clone(track)),
                    Slot::Requested(pending) => {
                        pending.answer(Err(TrackError::Closed));
                        None
                    }
                })
                .collect()
        };
        for track in tracks {
            track.close();
        }
        wake_all(&mut woken);
    }

    fn lock(&self) -> MutexGuard<'_, BroadcastState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
