//! What one reader alone writes.

use std::sync::{
    Arc,
    atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use super::{
    Tally, Totals,
    pool::{Place, Pool},
};
use crate::latency::Stage;

/// A reader's counts, and samples that the books of latency do not hold yet.
#[derive(Debug)]
pub(crate) struct ReaderCell {
    pool: Arc<Pool>,
    place: Place,
    groups: AtomicU64,
    datagrams: AtomicU64,
    claimed: AtomicBool,
}

/// All that every frame changes, in one line of memory.
///
/// Who has claimed it is its only writer: a frame so costs a nanosecond, not the ten that atomic additions take. With a
/// thousand readers every line is cold, and so there is one, [beside that of the next reader](Pool).
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Line {
    frames: AtomicU64,
    bytes: AtomicU64,
    pub(crate) stage: Stage,
}

const _: () = assert!(size_of::<Line>() == 64);

impl ReaderCell {
    pub(super) fn new(pool: &Arc<Pool>) -> Arc<Self> {
        let (groups, datagrams, claimed) = Default::default();
        Arc::new(Self { pool: Arc::clone(pool), place: pool.take(), groups, datagrams, claimed })
    }

    /// Makes the caller the only writer, unless somebody is.
    pub(super) fn claim(&self) -> Option<Place> {
        let is_free = !self.claimed.swap(true, Acquire);
        is_free.then(|| self.place.clone())
    }

    /// Lets the next writer in, who sees all that was counted.
    pub(super) fn release(&self) {
        self.claimed.store(false, Release);
    }

    /// Counts a group of which a first frame moved, as the only writer.
    pub(super) fn add_group(&self, datagram: bool) {
        self.groups.store(self.groups.load(Relaxed) + 1, Relaxed);
        self.datagrams.store(self.datagrams.load(Relaxed) + u64::from(datagram), Relaxed);
    }

    pub(crate) fn stage(&self) -> &Stage {
        &self.place.stage
    }

    /// Adds what was counted to a tally that others write.
    pub(super) fn fold_into(&self, tally: &Tally) {
        let mut totals = Totals::default();
        self.add_to(&mut totals);
        tally.fold(&totals);
    }

    pub(super) fn add_to(&self, totals: &mut Totals) {
        totals.groups += self.groups.load(Relaxed);
        totals.frames += self.place.frames.load(Relaxed);
        totals.bytes += self.place.bytes.load(Relaxed);
        totals.datagrams += self.datagrams.load(Relaxed);
    }
}

impl Drop for ReaderCell {
    fn drop(&mut self) {
        self.place.clear();
        self.pool.give_back(self.place.clone());
    }
}

impl Line {
    /// Counts a frame as the only writer.
    pub(super) fn add(&self, bytes: usize) {
        self.frames.store(self.frames.load(Relaxed) + 1, Relaxed);
        self.bytes.store(self.bytes.load(Relaxed) + bytes as u64, Relaxed);
    }

    fn clear(&self) {
        self.frames.store(0, Relaxed);
        self.bytes.store(0, Relaxed);
        self.stage.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_reader_begins_at_nothing() {
        let pool = Arc::default();
        for _ in 0..2 {
            let cell = ReaderCell::new(&pool);
            let line = cell.claim().expect("nobody else has it");
            assert!(cell.claim().is_none(), "somebody has");
            line.add(7);
            cell.add_group(false);
            assert!(line.stage.push(crate::latency::Sample::of(1, 2)));
            let mut totals = Totals::default();
            cell.add_to(&mut totals);
            assert_eq!((totals.groups, totals.frames, totals.bytes), (1, 1, 7));
            assert_eq!(cell.stage().iter().count(), 1);
        }
    }
}
