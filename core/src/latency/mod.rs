//! How long frames take through this process, measured at the egress door.
//!
//! Each reader keeps its samples in a [`Stage`] that it alone writes, and hands them to the [`Cells`] of its broadcast
//! and transport when the stage is full. So a frame costs a few plain stores, and only viewers of one broadcast over one
//! transport ever share a lock, once in ten frames. Whoever reads takes what is staged into account.

mod histogram;
mod objective;
mod stage;

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

pub use histogram::Histogram;
use objective::Window;
pub use objective::{Objective, ObjectiveReading, Observed};
use stage::TICK_BITS;
pub(crate) use stage::{Sample, Stage};

use crate::{Path, Protocol, time::micros_since, usage::ReaderCell};

/// Samples from which percentiles are computed.
const RING: usize = 1024;

/// The latest latencies of one broadcast over one transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latency {
    /// The broadcast.
    pub broadcast: Path,
    /// How frames left.
    pub transport: Protocol,
    /// The median of the latest samples.
    pub p50: Duration,
    /// What 95 of 100 stay below.
    pub p95: Duration,
    /// What 99 of 100 stay below.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
    /// How many samples these were computed from, at most 1024.
    pub sample_count: usize,
    /// How many there have been.
    pub total_observed: u64,
}

/// All latencies of one transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatencyTotals {
    /// How frames left.
    pub transport: Protocol,
    /// The broadcast; `None` is all that have gone.
    pub broadcast: Option<Path>,
    /// Every latency so far.
    pub histogram: Histogram,
}

/// The latencies of an origin.
#[derive(Debug)]
pub(crate) struct Latencies {
    objectives: Vec<Objective>,
    /// The start of time, as far as samples know.
    base: OnceLock<Instant>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: Vec<Arc<Cells>>,
    gone: [Histogram; Protocol::COUNT],
    /// One for each objective.
    gone_windows: Vec<Window>,
}

/// The latencies of one broadcast, by transport.
#[derive(Debug)]
pub(crate) struct BroadcastLatency {
    origin: Arc<Latencies>,
    path: Path,
    entries: [OnceLock<Arc<Entry>>; Protocol::COUNT],
}

/// Dropping it keeps its counts and forgets its samples.
#[derive(Debug)]
pub(crate) struct Entry {
    origin: Arc<Latencies>,
    cells: Arc<Cells>,
}

#[derive(Debug)]
struct Cells {
    path: Path,
    transport: Protocol,
    books: Mutex<Books>,
}

#[derive(Debug, Clone)]
struct Books {
    ring: Box<[Sample]>,
    filled: usize,
    next: usize,
    histogram: Histogram,
    windows: Vec<Window>,
    readers: Vec<Arc<ReaderCell>>,
}

/// Where one reader of a track puts its samples.
#[derive(Debug)]
pub(crate) struct Lane {
    entry: Arc<Entry>,
    cell: Arc<ReaderCell>,
}

impl Latencies {
    pub(crate) fn new(objectives: Vec<Objective>) -> Self {
        let gone_windows =
            objectives.iter().enumerate().map(|(number, objective)| Window::new(number, objective)).collect();
        let state = State { gone_windows, ..State::default() };
        Self { objectives, base: OnceLock::new(), state: Mutex::new(state) }
    }

    /// The start of time: when it is asked for first.
    pub(crate) fn base(&self, now: Instant) -> Instant {
        *self.base.get_or_init(|| now)
    }

    /// For a new broadcast.
    pub(crate) fn broadcast(self: &Arc<Self>, path: Path) -> BroadcastLatency {
        BroadcastLatency { origin: Arc::clone(self), path, entries: Default::default() }
    }

    /// Everything that was ever measured, so that no sum ever falls: by broadcast while it is live.
    pub(crate) fn totals(&self) -> Vec<LatencyTotals> {
        let state = self.lock();
        let gone = Protocol::ALL.into_iter().zip(state.gone).map(|(transport, histogram)| LatencyTotals {
            transport,
            broadcast: None,
            histogram,
        });
        let live = state.live.iter().map(|cells| LatencyTotals {
            transport: cells.transport,
            broadcast: Some(cells.path.clone()),
            histogram: cells.read().histogram,
        });
        gone.chain(live).filter(|totals| totals.histogram.count() > 0).collect()
    }

    /// How every objective fares, in their order.
    pub(crate) fn objectives(&self, now: Instant) -> Vec<ObjectiveReading> {
        let at = self.base.get().map_or(0, |base| micros_since(*base, now) >> TICK_BITS);
        let state = self.lock();
        let mut readings: Vec<_> = state
            .gone_windows
            .iter()
            .map(|window| ObjectiveReading { all: window.read(at), each: Vec::new() })
            .collect();
        for cells in &state.live {
            for window in cells.read().windows {
                let Some(reading) = readings.get_mut(window.objective) else { continue };
                let kept = window.read(at);
                reading.all.frames += kept.frames;
                reading.all.slow += kept.slow;
                reading.each.push((cells.path.clone(), cells.transport, kept));
            }
        }
        for reading in &mut readings {
            reading.each.sort_by(|(a, s, _), (b, t, _)| (a, s.as_str()).cmp(&(b, t.as_str())));
        }
        readings
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BroadcastLatency {
    /// For a new reader of the broadcast, who stages samples in `cell`.
    pub(crate) fn lane(&self, transport: Protocol, cell: &Arc<ReaderCell>) -> Option<Lane> {
        let entry = self.entries.get(transport as usize)?;
        let entry = entry.get_or_init(|| Entry::new(&self.origin, &self.path, transport));
        entry.cells.lock().readers.push(Arc::clone(cell));
        Some(Lane { entry: Arc::clone(entry), cell: Arc::clone(cell) })
    }

    /// The latest latencies, one for every transport over which frames have left.
    pub(crate) fn latest(&self) -> impl Iterator<Item = Latency> {
        self.entries.iter().filter_map(OnceLock::get).filter_map(|entry| entry.cells.latest())
    }
}

impl Entry {
    fn new(origin: &Arc<Latencies>, path: &Path, transport: Protocol) -> Arc<Self> {
        let covering =
            origin.objectives.iter().enumerate().filter(|(_, objective)| objective.covers(path, transport));
        let books = Books {
            ring: vec![Sample::default(); RING].into(),
            filled: 0,
            next: 0,
            histogram: Histogram::default(),
            windows: covering.map(|(number, objective)| Window::new(number, objective)).collect(),
            readers: Vec::new(),
        };
        let cells = Arc::new(Cells { path: path.clone(), transport, books: Mutex::new(books) });
        origin.lock().live.push(Arc::clone(&cells));
        Arc::new(Self { origin: Arc::clone(origin), cells })
    }

    /// Takes over what is staged. Only the one who may charge the reader's tally calls this.
    pub(crate) fn absorb(&self, stage: &Stage) {
        let mut books = self.cells.lock();
        books.absorb(stage);
        stage.clear();
    }

    /// Notes that a frame left, beside others who do.
    pub(crate) fn record(&self, sample: Sample) {
        self.cells.lock().record(sample);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.origin.lock();
        if let Some(index) = state.live.iter().position(|live| Arc::ptr_eq(live, &self.cells)) {
            state.live.swap_remove(index);
        }
        let books = self.cells.read();
        if let Some(gone) = state.gone.get_mut(self.cells.transport as usize) {
            *gone += books.histogram;
        }
        for window in &books.windows {
            if let Some(gone) = state.gone_windows.get_mut(window.objective) {
                gone.fold(window);
            }
        }
    }
}

impl Cells {
    /// A copy of the books in which nothing is staged.
    fn read(&self) -> Books {
        let mut books = self.lock().clone();
        let readers = std::mem::take(&mut books.readers);
        readers.iter().for_each(|cell| books.absorb(cell.stage()));
        books
    }

    fn latest(&self) -> Option<Latency> {
        let (mut samples, total_observed) = {
            let books = self.lock();
            let staged = books.readers.iter().flat_map(|cell| cell.stage().iter());
            let ring = books.ring.iter().take(books.filled).copied();
            let samples: Vec<Sample> = ring.chain(staged).collect();
            let staged = samples.len() - books.filled;
            (samples, books.histogram.count() + staged as u64)
        };
        samples.sort_unstable_by(|a, b| b.cmp(a));
        samples.truncate(RING);
        let mut micros: Vec<u64> = samples.into_iter().map(Sample::micros).collect();
        micros.sort_unstable();
        let longest = *micros.last()?;
        let percentile = |percent: usize| {
            Duration::from_micros(*micros.get(micros.len() * percent / 100).unwrap_or(&longest))
        };
        Some(Latency {
            broadcast: self.path.clone(),
            transport: self.transport,
            p50: percentile(50),
            p95: percentile(95),
            p99: percentile(99),
            max: Duration::from_micros(longest),
            sample_count: micros.len(),
            total_observed,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn record(&mut self, sample: Sample) {
        if let Some(place) = self.ring.get_mut(self.next) {
            *place = sample;
        }
        self.next = (self.next + 1) % RING;
        self.filled = (self.filled + 1).min(RING);
        self.histogram.add(sample.micros());
        for window in &mut self.windows {
            window.add(sample.at(), sample.micros());
        }
    }

    fn absorb(&mut self, stage: &Stage) {
        stage.iter().for_each(|sample| self.record(sample));
    }
}

impl Lane {
    /// Where its samples go.
    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut books = self.entry.cells.lock();
        books.absorb(self.cell.stage());
        if let Some(index) = books.readers.iter().position(|cell| Arc::ptr_eq(cell, &self.cell)) {
            books.readers.swap_remove(index);
        }
    }
}
