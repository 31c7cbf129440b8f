//! What frames add up to.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Charge, Totals};

/// Counts of frames that moved, on which any thread may count. A reader of many groups has a
/// [`ReaderCell`](super::ReaderCell) of its own.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    groups: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
    datagrams: AtomicU64,
}

impl Tally {
    pub(super) fn add(&self, charge: Charge) {
        self.frames.fetch_add(1, Relaxed);
        self.bytes.fetch_add(charge.bytes as u64, Relaxed);
        if charge.group {
            self.groups.fetch_add(1, Relaxed);
            self.datagrams.fetch_add(u64::from(charge.datagram), Relaxed);
        }
    }

    /// Adds what was counted elsewhere.
    pub(super) fn fold(&self, other: &Totals) {
        self.groups.fetch_add(other.groups, Relaxed);
        self.frames.fetch_add(other.frames, Relaxed);
        self.bytes.fetch_add(other.bytes, Relaxed);
        self.datagrams.fetch_add(other.datagrams, Relaxed);
    }

    pub(super) fn add_to(&self, totals: &mut Totals) {
        totals.groups += self.groups.load(Relaxed);
        totals.frames += self.frames.load(Relaxed);
        totals.bytes += self.bytes.load(Relaxed);
        totals.datagrams += self.datagrams.load(Relaxed);
    }
}
