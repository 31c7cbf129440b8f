//! What every session has used and nobody has written down yet.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{Amounts, Backlog, Counters, Holder, Side, Statement};
use crate::{Path, session::SessionShared};

/// Where the model takes the time from at which somebody begins or ends to watch: it has no clock of its own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Instant + Send + Sync>);

impl Clock {
    /// A clock that is read by calling `now`.
    pub fn new(now: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(crate) fn now(&self) -> Instant {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}

/// How usage is kept session by session until somebody takes it.
#[derive(Debug, Clone)]
pub struct Bookkeeping {
    /// What time it is.
    pub clock: Clock,
    /// How many that have ended are kept apart until they are taken, as in [`Backlog::new`].
    pub ended_max: usize,
}

/// All sheets of an origin.
#[derive(Debug)]
pub(crate) struct Books {
    clock: Clock,
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    live: BTreeMap<u64, (Arc<Sheet>, Arc<Counters>)>,
    ended: Backlog,
}

/// What is known of one meter beside its counters.
#[derive(Debug)]
pub(crate) struct Sheet {
    books: Arc<Books>,
    holder: Arc<Holder>,
    state: Mutex<SheetState>,
}

#[derive(Debug)]
struct SheetState {
    /// How many hold the meter active, and since when at least one does.
    actives: usize,
    since: Instant,
    /// How long it was active until then.
    active: Duration,
    /// What was taken, and when.
    taken: Amounts,
    taken_at: Instant,
    /// Whether anything of it was ever taken.
    is_known: bool,
    is_closed: bool,
}

impl Books {
    pub(crate) fn new(how: Bookkeeping) -> Arc<Self> {
        Arc::new(Self {
            clock: how.clock,
            next: AtomicU64::new(1),
            state: Mutex::new(State { live: BTreeMap::new(), ended: Backlog::new(how.ended_max) }),
        })
    }

    /// A sheet for a new meter.
    pub(super) fn open(
        self: &Arc<Self>,
        session: &SessionShared,
        path: &Path,
        side: Side,
        counters: &Arc<Counters>,
    ) -> Arc<Sheet> {
        let now = self.clock.now();
        let number = self.next.fetch_add(1, Relaxed);
        let holder = Holder {
            number,
            session: Arc::clone(session.id()),
            tenant: Arc::clone(&session.grant().tenant),
            tier: Arc::clone(&session.grant().tier),
            protocol: session.protocol(),
            path: path.clone(),
            side,
            end: Arc::clone(session.end()),
        };
        let state = SheetState {
            actives: 0,
            since: now,
            active: Duration::ZERO,
            taken: Amounts::default(),
            taken_at: now,
            is_known: false,
            is_closed: false,
        };
        let books = Arc::clone(self);
        let sheet = Arc::new(Sheet { books, holder: Arc::new(holder), state: Mutex::new(state) });
        self.lock().live.insert(number, (Arc::clone(&sheet), Arc::clone(counters)));
        sheet
    }

    /// Everything that was used since this was last called, in the order in which the holders came.
    pub(crate) fn settle(&self) -> Vec<Statement> {
        let live: Vec<_> = self.lock().live.values().cloned().collect();
        let now = self.clock.now();
        let mut all: Vec<_> =
            live.iter().filter_map(|(sheet, counters)| sheet.take(counters, now, false)).collect();
        // Whoever ended in between is in both, with what it used after the reading above.
        all.extend(self.lock().ended.take());
        all
    }

    /// How many that ended were put together because they were not taken.
    pub(crate) fn folded(&self) -> u64 {
        self.lock().ended.folded()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sheet {
    /// Somebody reads or writes a track.
    pub(super) fn activate(&self) {
        let now = self.books.clock.now();
        let mut state = self.lock();
        if state.actives == 0 {
            state.since = now;
        }
        state.actives += 1;
    }

    /// That has ended.
    pub(super) fn deactivate(&self) {
        let now = self.books.clock.now();
        let mut state = self.lock();
        state.actives = state.actives.saturating_sub(1);
        if state.actives == 0 {
            let since = state.since;
            state.active += now.saturating_duration_since(since);
        }
    }

    /// Nobody holds the meter any more.
    pub(super) fn close(&self, counters: &Counters) {
        let last = self.take(counters, self.books.clock.now(), true);
        let mut books = self.books.lock();
        books.live.remove(&self.holder.number);
        if let Some(last) = last {
            books.ended.add(last);
        }
    }

    /// What was used since the last time, if that is worth a line: nothing is said of who only looked at a listing.
    fn take(&self, counters: &Counters, now: Instant, is_final: bool) -> Option<Statement> {
        let mut state = self.lock();
        if state.is_closed {
            return None;
        }
        state.is_closed = is_final;
        let total = Amounts::new(&counters.totals(), state.active_ms(now));
        let amounts = total.since(state.taken);
        let from = std::mem::replace(&mut state.taken_at, now);
        state.taken = total;
        state.is_known |= !amounts.is_zero();
        let is_said = !amounts.is_zero() || (is_final && state.is_known);
        is_said.then(|| Statement { holder: Arc::clone(&self.holder), from, to: now, amounts, is_final })
    }

    fn lock(&self) -> MutexGuard<'_, SheetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SheetState {
    /// Whole milliseconds of the whole time, so that what is taken piece by piece adds up.
    fn active_ms(&self, now: Instant) -> u64 {
        let current = match self.actives {
            0 => Duration::ZERO,
            _ => now.saturating_duration_since(self.since),
        };
        u64::try_from((self.active + current).as_millis()).unwrap_or(u64::MAX)
    }
}
