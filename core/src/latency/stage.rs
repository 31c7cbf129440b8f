//! Samples of one reader that the books do not hold yet.

use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// Samples that a reader keeps to itself: enough that what it costs to hand them over vanishes beside them.
const STAGED: usize = 64;
/// Bits of a sample that hold the latency, in microseconds: four and a half minutes.
const LATENCY_BITS: u32 = 28;
/// A tick, the unit of when a frame left, is so many bits of microseconds: about a millisecond.
pub(super) const TICK_BITS: u32 = 10;
const LATENCY_MAX: u64 = (1 << LATENCY_BITS) - 1;

/// When a frame left, and after how long, in one word that sorts by when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Sample(u64);

impl Sample {
    /// Both in microseconds since the start of time.
    pub(crate) fn of(now: u64, received: u64) -> Self {
        Self::new(now >> TICK_BITS, now.saturating_sub(received))
    }

    /// `at` is in ticks since the start of time.
    pub(super) fn new(at: u64, micros: u64) -> Self {
        Self(at << LATENCY_BITS | micros.min(LATENCY_MAX))
    }

    pub(super) fn at(self) -> u64 {
        self.0 >> LATENCY_BITS
    }

    pub(super) fn micros(self) -> u64 {
        self.0 & LATENCY_MAX
    }
}

/// Written by its one reader with plain stores, read by whoever holds the lock of the books, under which alone it is
/// emptied.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Stage {
    len: AtomicUsize,
    samples: [AtomicU64; STAGED],
}

impl Default for Stage {
    fn default() -> Self {
        Self { len: AtomicUsize::new(0), samples: [const { AtomicU64::new(0) }; STAGED] }
    }
}

impl Stage {
    /// Keeps a sample. `true`: now it is full.
    pub(crate) fn push(&self, sample: Sample) -> bool {
        let len = self.len.load(Relaxed);
        if let Some(place) = self.samples.get(len) {
            place.store(sample.0, Relaxed);
            self.len.store(len + 1, Release);
        }
        len + 1 >= STAGED
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Sample> {
        let len = self.len.load(Acquire);
        self.samples.iter().take(len).map(|sample| Sample(sample.load(Relaxed)))
    }

    pub(super) fn clear(&self) {
        self.len.store(0, Relaxed);
    }
}
