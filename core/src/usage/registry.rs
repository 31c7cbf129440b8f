//! The rows of the usage report.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Bookkeeping, Books, Counters, GaugeTotals, Meter, Side, Totals, counters::Gauge, pool::Pool};
use crate::{Path, Protocol, session::SessionShared};

/// All usage of one origin, keyed by path, tier and protocol.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    books: Option<Arc<Books>>,
    pool: Arc<Pool>,
    state: Mutex<RegistryState>,
}

#[derive(Debug, Default)]
struct RegistryState {
    rows: BTreeMap<Key, Arc<RowShared>>,
    sessions: BTreeMap<(Arc<str>, Protocol), Arc<Gauge>>,
    next_segment: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    path: Path,
    tier: Arc<str>,
    protocol: Protocol,
}

/// The counters of one row: those of meters that have gone, and the meters that are live.
#[derive(Debug)]
pub(crate) struct RowShared {
    segment: u64,
    state: Mutex<RowState>,
}

#[derive(Debug, Default)]
struct RowState {
    ingress: SideState,
    egress: SideState,
}

#[derive(Debug, Default)]
struct SideState {
    retired: Totals,
    live: Vec<Arc<Counters>>,
}

/// One row of a usage report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The broadcast.
    pub path: Path,
    /// The label of the sessions that are counted here.
    pub tier: Arc<str>,
    /// How the payload moved.
    pub protocol: Protocol,
    /// Which run of counters this is: a row that was dropped and came back starts at zero with a higher number.
    pub segment: u64,
    /// Into the origin.
    pub ingress: Totals,
    /// Out of the origin.
    pub egress: Totals,
}

/// Sessions of one tier and protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTotals {
    /// The label of the sessions.
    pub tier: Arc<str>,
    /// How they are connected.
    pub protocol: Protocol,
    /// How many were opened and closed.
    pub sessions: GaugeTotals,
}

/// A reading of all usage, sorted by path, tier and protocol.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// One row per path, tier and protocol.
    pub usage: Vec<Row>,
    /// One row per tier and protocol.
    pub sessions: Vec<SessionTotals>,
}

impl Registry {
    /// No rows, and the books that are to be kept beside them.
    pub(crate) fn new(bookkeeping: Option<Bookkeeping>) -> Self {
        Self { books: bookkeeping.map(Books::new), ..Self::default() }
    }

    /// The books, if any are kept.
    pub(crate) fn books(&self) -> Option<&Arc<Books>> {
        self.books.as_ref()
    }

    /// A new meter for one session, broadcast and direction.
    pub(crate) fn meter(&self, path: &Path, session: &SessionShared, side: Side) -> Meter {
        let mut state = self.lock();
        let tier = Arc::clone(&session.grant().tier);
        let key = Key { path: path.clone(), tier, protocol: session.protocol() };
        let segment = state.next_segment;
        let row = Arc::clone(
            state.rows.entry(key).or_insert_with(|| Arc::new(RowShared { segment, state: Mutex::default() })),
        );
        if row.segment == segment {
            state.next_segment += 1;
        }
        let counters = row.enlist(side);
        session.meters().enlist(path, side, &counters);
        let sheet = self.books.as_ref().map(|books| books.open(session, path, side, &counters));
        Meter::new(counters, row, side, sheet, Arc::clone(&self.pool))
    }

    /// The gauge of sessions of one tier and protocol.
    pub(crate) fn session_gauge(&self, tier: &Arc<str>, protocol: Protocol) -> Arc<Gauge> {
        Arc::clone(self.lock().sessions.entry((Arc::clone(tier), protocol)).or_default())
    }

    /// Reads everything, or only the rows of one path.
    pub(crate) fn snapshot(&self, path: Option<&Path>) -> Snapshot {
        let (rows, sessions) = {
            let state = self.lock();
            let wanted = |key: &&Key| path.is_none_or(|path| key.path == *path);
            let rows: Vec<_> = state
                .rows
                .iter()
                .filter(|(key, _)| wanted(key))
                .map(|(key, row)| (key.clone(), Arc::clone(row)))
                .collect();
            (rows, state.session_totals())
        };
        Snapshot { usage: rows.iter().map(|(key, row)| row.read(key)).collect(), sessions }
    }

    /// Takes the rows out that nobody can write to any more, and returns their last reading.
    pub(crate) fn prune(&self, idle: impl Fn(&Row) -> bool) -> Vec<Row> {
        let mut gone = Vec::new();
        self.lock().rows.retain(|key, row| {
            let keep = row.is_live() || !idle(&row.read(key));
            if !keep {
                gone.push(row.read(key));
            }
            keep
        });
        gone
    }

    fn lock(&self) -> MutexGuard<'_, RegistryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RegistryState {
    fn session_totals(&self) -> Vec<SessionTotals> {
        let total = |((tier, protocol), gauge): (&(Arc<str>, Protocol), &Arc<Gauge>)| SessionTotals {
            tier: Arc::clone(tier),
            protocol: *protocol,
            sessions: gauge.totals(),
        };
        self.sessions.iter().map(total).collect()
    }
}

impl RowShared {
    fn enlist(&self, side: Side) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        self.lock().side(side).live.push(Arc::clone(&counters));
        counters
    }

    /// Folds a meter that nobody holds any more into the row.
    pub(super) fn retire(&self, side: Side, counters: &Arc<Counters>) {
        let mut state = self.lock();
        let side = state.side(side);
        if let Some(index) = side.live.iter().position(|live| Arc::ptr_eq(live, counters)) {
            side.live.swap_remove(index);
            side.retired += counters.totals();
        }
    }

    fn is_live(&self) -> bool {
        let state = self.lock();
        !state.ingress.live.is_empty() || !state.egress.live.is_empty()
    }

    fn read(&self, key: &Key) -> Row {
        let state = self.lock();
        Row {
            path: key.path.clone(),
            tier: Arc::clone(&key.tier),
            protocol: key.protocol,
            segment: self.segment,
            ingress: state.ingress.totals(),
            egress: state.egress.totals(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, RowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RowState {
    const fn side(&mut self, side: Side) -> &mut SideState {
        match side {
            Side::Ingress => &mut self.ingress,
            Side::Egress => &mut self.egress,
        }
    }
}

impl SideState {
    fn totals(&self) -> Totals {
        let mut sum = self.retired;
        for counters in &self.live {
            sum += counters.totals();
        }
        sum
    }
}
