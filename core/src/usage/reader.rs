//! What one reader alone writes.

use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use super::{Charge, Tally, Totals};
use crate::latency::Stage;

/// A reader's counts, and samples that the books of latency do not hold yet.
///
/// Who has claimed it is its only writer. It keeps the [`Counts`] itself and stores them here after every frame, for others
/// to see: a frame so costs a nanosecond, not the ten that atomic additions take. With a thousand readers every line of
/// memory is cold, and so all that a frame stores lies in the first one.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct ReaderCell {
    frames: AtomicU64,
    bytes: AtomicU64,
    groups: AtomicU64,
    pub(crate) stage: Stage,
    datagrams: AtomicU64,
    claimed: AtomicBool,
}

/// What has been counted on a cell, so that its writer has nothing to read back.
#[derive(Debug)]
pub(super) struct Counts {
    frames: u64,
    bytes: u64,
}

impl ReaderCell {
    /// Makes the caller the only writer, unless somebody is.
    pub(super) fn claim(&self) -> Option<Counts> {
        let is_free = !self.claimed.swap(true, Acquire);
        is_free.then(|| Counts { frames: self.frames.load(Relaxed), bytes: self.bytes.load(Relaxed) })
    }

    /// Lets the next writer in, who sees all that was counted.
    pub(super) fn release(&self) {
        self.claimed.store(false, Release);
    }

    /// Counts as the only writer.
    pub(super) fn add(&self, counts: &mut Counts, charge: Charge) {
        counts.frames += 1;
        self.frames.store(counts.frames, Relaxed);
        counts.bytes += charge.bytes as u64;
        self.bytes.store(counts.bytes, Relaxed);
        if charge.group {
            self.groups.store(self.groups.load(Relaxed) + 1, Relaxed);
            if charge.datagram {
                self.datagrams.store(self.datagrams.load(Relaxed) + 1, Relaxed);
            }
        }
    }

    /// Adds what was counted to a tally that others write.
    pub(super) fn fold_into(&self, tally: &Tally) {
        let mut totals = Totals::default();
        self.add_to(&mut totals);
        tally.fold(&totals);
    }

    pub(super) fn add_to(&self, totals: &mut Totals) {
        totals.groups += self.groups.load(Relaxed);
        totals.frames += self.frames.load(Relaxed);
        totals.bytes += self.bytes.load(Relaxed);
        totals.datagrams += self.datagrams.load(Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn what_a_frame_stores_is_one_line_of_memory() {
        assert_eq!(offset_of!(ReaderCell, stage) + size_of::<Stage>(), 64);
        assert_eq!(align_of::<ReaderCell>(), 64);
    }
}
