//! A track: groups in the order in which they came, retained for late readers within bounds.

mod consumer;
mod producer;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
    time::{Duration, Instant},
};

pub use consumer::TrackConsumer;
pub use producer::{CreateGroupError, TrackClosed, TrackProducer};

use crate::{
    StreamCode, Subscription, Timestamp,
    broadcast::{Activity, ViewerId},
    group::{FRAME_COST, GROUP_BYTES_MAX, GroupShared},
    waiters::{Waiters, wake_all},
};

/// Most groups that a track retains: an hour of one group a second, or 80 s of an audio frame a group.
const GROUPS_MAX: usize = 4096;

/// What does not change while a track lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackInfo {
    /// The name inside the broadcast.
    pub name: Arc<str>,
    /// Ticks per second in which peers state timestamps on the wire, 1 to 1,000,000.
    pub timescale: u64,
    /// Higher is sent sooner among tracks for which a subscriber has no preference.
    pub priority: u8,
    /// How long a group is of use to anybody; the upper bound of what is retained.
    pub max_age: Duration,
}

/// Why a track cannot be read, or cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// The broadcast has no such track, or no such group.
    #[error("there is no such track")]
    NotFound,
    /// Nobody can be asked for it.
    #[error("the publisher cannot be reached")]
    Unroutable,
    /// The publisher went away without ending the track.
    #[error("the publisher went away")]
    Aborted,
    /// The broadcast has ended.
    #[error("the broadcast has ended")]
    Closed,
    /// The broadcast has as many tracks as it may have.
    #[error("the broadcast has too many tracks")]
    Limit,
    /// The upstream refused with this stream code.
    #[error("the upstream refused it: {0}")]
    Refused(StreamCode),
}

/// How much of a track is kept for late readers, beside its newest group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    pub(crate) age: Duration,
    pub(crate) bytes: usize,
}

/// What the producer and all consumers of a track share.
#[derive(Debug)]
pub(crate) struct TrackShared {
    pub(crate) info: Arc<TrackInfo>,
    retention: Retention,
    activity: Arc<Activity>,
    newest_timestamp: AtomicU64,
    /// Memory of all retained groups, in bytes. Signed, because an eviction may overtake the frame that it evicts.
    held: AtomicI64,
    state: Mutex<TrackState>,
}

#[derive(Debug, Default)]
struct TrackState {
    groups: VecDeque<Arc<GroupShared>>,
    /// The arrival number of the first retained group; readers count arrivals, not sequences.
    first_arrival: u64,
    /// The highest sequence, and where it stands.
    newest: Option<(u64, u64)>,
    /// No group at or past this sequence will come.
    end_sequence: Option<u64>,
    end: Option<End>,
    readers: Vec<Option<Demand>>,
    /// A reader has come, or asked, since the producer last looked.
    keyframe_wanted: bool,
    waiting_readers: Waiters,
    waiting_producer: Waiters,
}

/// What one reader asks for.
#[derive(Debug, Clone, Copy)]
struct Demand {
    viewer: ViewerId,
    subscription: Subscription,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Finished,
    Failed(TrackError),
}

impl TrackShared {
    pub(crate) fn new(info: TrackInfo, retention: Retention, activity: Arc<Activity>) -> Self {
        let retention = Retention { age: retention.age.min(info.max_age), ..retention };
        Self {
            info: Arc::new(info),
            retention,
            activity,
            newest_timestamp: AtomicU64::new(0),
            held: AtomicI64::new(0),
            state: Mutex::default(),
        }
    }

    /// Called for every frame that entered one of the groups.
    pub(crate) fn pushed(
        &self,
        bytes: usize,
        timestamp: Timestamp,
        received_micros: u64,
        woken: &mut Vec<Waker>,
    ) {
        self.newest_timestamp.fetch_max(timestamp.as_micros(), Relaxed);
        self.activity.pushed(received_micros);
        let held = self.held.fetch_add(as_signed(bytes + FRAME_COST), Relaxed);
        if held > as_signed(self.retention.bytes + GROUP_BYTES_MAX) {
            self.lock().relieve(self, woken);
        }
    }

    /// Microseconds since the start of time.
    pub(crate) fn micros(&self, at: Instant) -> u64 {
        self.activity.micros(at)
    }

    /// Ends the track and every group of it that is still open.
    pub(crate) fn fail(&self, error: TrackError, code: StreamCode) {
        let mut woken = Vec::new();
        {
            let mut state = self.lock();
            if state.end.is_none() {
                state.end = Some(End::Failed(error));
            }
            for group in &state.groups {
                group.abort(code, &mut woken);
            }
            state.wake_everyone(&mut woken);
        }
        wake_all(&mut woken);
    }

    /// Adds the largest number of viewers that a reader of each session stands for.
    pub(crate) fn count_viewers(&self, viewers: &mut BTreeMap<ViewerId, u64>) {
        let state = self.lock();
        let watching = state.readers.iter().flatten().filter(|demand| demand.viewer != ViewerId::NOBODY);
        for demand in watching {
            let weight = viewers.entry(demand.viewer).or_default();
            *weight = (*weight).max(demand.subscription.downstream);
        }
    }

    /// Whether the track has ended, cleanly or not.
    pub(crate) fn is_ended(&self) -> bool {
        self.lock().end.is_some()
    }

    /// Whether the track ended with an error.
    pub(crate) fn is_failed(&self) -> bool {
        matches!(self.lock().end, Some(End::Failed(_)))
    }

    /// The retained group of that sequence.
    pub(crate) fn group(&self, sequence: u64) -> Option<Arc<GroupShared>> {
        self.lock().groups.iter().rev().find(|group| group.sequence == sequence).cloned()
    }

    fn forget(&self, group: &GroupShared, woken: &mut Vec<Waker>) {
        self.held.fetch_sub(as_signed(group.evict(woken)), Relaxed);
    }

    fn newest_timestamp(&self) -> Timestamp {
        Timestamp::from_micros(self.newest_timestamp.load(Relaxed))
    }

    /// Whether a group is `age` older than the newest frame, in media time.
    fn is_older(&self, group: &GroupShared, age: Duration) -> bool {
        let newest = self.newest_timestamp();
        group.first_timestamp().and_then(|first| newest.checked_sub(first)).is_some_and(|behind| behind > age)
    }

    fn lock(&self) -> MutexGuard<'_, TrackState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TrackState {
    fn wake_everyone(&mut self, woken: &mut Vec<Waker>) {
        self.waiting_readers.take(woken);
        self.waiting_producer.take(woken);
    }

    fn next_sequence(&self) -> u64 {
        self.newest.map_or(0, |(sequence, _)| sequence + 1)
    }

    fn next_arrival(&self) -> u64 {
        self.first_arrival + self.groups.len() as u64
    }

    fn insert(&mut self, group: Arc<GroupShared>) {
        let arrival = self.next_arrival();
        if self.newest.is_none_or(|(newest, _)| group.sequence > newest) {
            self.newest = Some((group.sequence, arrival));
        }
        self.groups.push_back(group);
    }

    /// Lets go of what is past its bounds, oldest arrival first, but never of the newest group.
    fn evict(&mut self, track: &TrackShared, woken: &mut Vec<Waker>) {
        while let Some(oldest) = self.groups.front() {
            let too_old = track.is_older(oldest, track.retention.age);
            if self.is_newest(oldest) || !(too_old || self.is_over(track)) {
                return;
            }
            track.forget(oldest, woken);
            self.groups.pop_front();
            self.first_arrival += 1;
        }
    }

    /// Lets the memory of groups go that grew past the bound while they were open.
    fn relieve(&mut self, track: &TrackShared, woken: &mut Vec<Waker>) {
        for group in &self.groups {
            if !self.is_over(track) {
                return;
            }
            if !self.is_newest(group) {
                track.forget(group, woken);
            }
        }
    }

    fn is_newest(&self, group: &GroupShared) -> bool {
        self.newest.is_some_and(|(sequence, _)| sequence == group.sequence)
    }

    fn is_over(&self, track: &TrackShared) -> bool {
        self.groups.len() >= GROUPS_MAX || track.held.load(Relaxed) > as_signed(track.retention.bytes)
    }
}

fn as_signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
