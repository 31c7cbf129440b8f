//! What frames add up to.

use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use super::{Charge, Totals};

/// Counts of frames that moved.
///
/// Who has claimed a tally is its only writer and counts with plain stores; who has not adds atomically to a tally that
/// nobody ever claims. A viewer's frames so cost a nanosecond, not the ten that atomic additions take.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    groups: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
    datagrams: AtomicU64,
    claimed: AtomicBool,
}

impl Tally {
    /// Makes the caller the only writer, unless somebody is.
    pub(super) fn claim(&self) -> bool {
        !self.claimed.swap(true, Acquire)
    }

    /// Lets the next writer in, who sees all that was counted.
    pub(super) fn release(&self) {
        self.claimed.store(false, Release);
    }

    /// Counts as the only writer.
    pub(super) fn add_claimed(&self, charge: Charge) {
        let add = |counter: &AtomicU64, amount: u64| counter.store(counter.load(Relaxed) + amount, Relaxed);
        add(&self.frames, 1);
        add(&self.bytes, charge.bytes as u64);
        if charge.group {
            add(&self.groups, 1);
            add(&self.datagrams, u64::from(charge.datagram));
        }
    }

    /// Counts beside other writers.
    pub(super) fn add(&self, charge: Charge) {
        self.frames.fetch_add(1, Relaxed);
        self.bytes.fetch_add(charge.bytes as u64, Relaxed);
        if charge.group {
            self.groups.fetch_add(1, Relaxed);
            self.datagrams.fetch_add(u64::from(charge.datagram), Relaxed);
        }
    }

    /// Adds what another tally counted.
    pub(super) fn fold(&self, other: &Self) {
        self.groups.fetch_add(other.groups.load(Relaxed), Relaxed);
        self.frames.fetch_add(other.frames.load(Relaxed), Relaxed);
        self.bytes.fetch_add(other.bytes.load(Relaxed), Relaxed);
        self.datagrams.fetch_add(other.datagrams.load(Relaxed), Relaxed);
    }

    pub(super) fn add_to(&self, totals: &mut Totals) {
        totals.groups += self.groups.load(Relaxed);
        totals.frames += self.frames.load(Relaxed);
        totals.bytes += self.bytes.load(Relaxed);
        totals.datagrams += self.datagrams.load(Relaxed);
    }
}
