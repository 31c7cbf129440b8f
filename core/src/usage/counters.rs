//! Counters that only grow.

use std::{
    ops::AddAssign,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use super::{ReaderCell, Tally};

/// Something that opens and closes: live = opened - closed.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    opened: AtomicU64,
    closed: AtomicU64,
}

impl Gauge {
    pub(crate) fn open(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    /// `Release` pairs with the `Acquire` of [`Counters::totals`]: whoever sees the close sees the open before it.
    pub(crate) fn close(&self) {
        self.closed.fetch_add(1, Release);
    }

    pub(crate) fn totals(&self) -> GaugeTotals {
        let closed = self.closed.load(Acquire);
        GaugeTotals { opened: self.opened.load(Relaxed), closed }
    }
}

/// The live counters of one meter. Written by one session, read by anyone.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// What any thread of the session may count on.
    shared: Tally,
    /// What single readers count on by themselves.
    own: Mutex<Vec<Arc<ReaderCell>>>,
    pub(super) fetches: AtomicU64,
    pub(crate) announced: Gauge,
    pub(crate) active: Gauge,
    pub(crate) subscriptions: Gauge,
}

impl Counters {
    pub(super) fn shared(&self) -> &Tally {
        &self.shared
    }

    /// Sums up what a reader counts, too.
    pub(super) fn enlist(&self, cell: Arc<ReaderCell>) {
        self.lock().push(cell);
    }

    /// Folds the counts of a reader that has gone. Under the lock, so that no reading sees it twice or not at all.
    pub(super) fn retire(&self, cell: &Arc<ReaderCell>) {
        let mut own = self.lock();
        if let Some(index) = own.iter().position(|live| Arc::ptr_eq(live, cell)) {
            own.swap_remove(index);
            cell.fold_into(&self.shared);
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals {
            fetches: self.fetches.load(Relaxed),
            announced: self.announced.totals(),
            active: self.active.totals(),
            subscriptions: self.subscriptions.totals(),
            ..Totals::default()
        };
        let own = self.lock();
        self.shared.add_to(&mut totals);
        own.iter().for_each(|cell| cell.add_to(&mut totals));
        totals
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<ReaderCell>>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reading of a gauge. `closed` never exceeds `opened`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GaugeTotals {
    /// How many were ever opened.
    pub opened: u64,
    /// How many of those have closed.
    pub closed: u64,
}

impl GaugeTotals {
    /// How many are open.
    #[must_use]
    pub const fn live(self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }
}

/// A reading of one side of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Groups of which at least one frame moved; fetched groups are not among them.
    pub groups: u64,
    /// Frames that moved, fetched ones included.
    pub frames: u64,
    /// Payload bytes that moved, fetched ones included.
    pub bytes: u64,
    /// Fetches that were answered with a group.
    pub fetches: u64,
    /// Groups among `groups` that moved as a datagram.
    pub datagrams: u64,
    /// Broadcasts that are listed: by a publisher (ingress) or to a session (egress).
    pub announced: GaugeTotals,
    /// Publishers with at least one live track (ingress), viewers of at least one track (egress).
    pub active: GaugeTotals,
    /// Live tracks (ingress), live readers of a track (egress).
    pub subscriptions: GaugeTotals,
}

impl AddAssign for GaugeTotals {
    fn add_assign(&mut self, other: Self) {
        self.opened += other.opened;
        self.closed += other.closed;
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.groups += other.groups;
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.fetches += other.fetches;
        self.datagrams += other.datagrams;
        self.announced += other.announced;
        self.active += other.active;
        self.subscriptions += other.subscriptions;
    }
}
