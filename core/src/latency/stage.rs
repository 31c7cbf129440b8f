//! Samples of one reader that the books do not hold yet.

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Bits of a sample that hold the latency, in microseconds: four and a half minutes.
const LATENCY_BITS: u32 = 28;
/// A tick, the unit of when a frame left, is so many bits of microseconds: about a millisecond.
pub(super) const TICK_BITS: u32 = 10;
const LATENCY_MAX: u64 = (1 << LATENCY_BITS) - 1;

/// When a frame left, and after how long, in one word that sorts by when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Sample(u64);

impl Sample {
    /// Of a frame that was received so many microseconds after the start of time, and took so many more.
    pub(crate) fn of(received: u64, took: u64) -> Self {
        Self::new(received.saturating_add(took) >> TICK_BITS, took)
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

/// Samples that a reader keeps to itself: as many as find room beside its counts, in the line of memory that every frame
/// stores to. More of them would be a second line.
const STAGED: usize = 10;
/// Bits of a staged sample that hold the latency: up to four seconds.
const SHORT_BITS: u32 = 22;
/// Bits of a staged sample that hold when the frame left, in ticks since the first one: about a second.
const SINCE_BITS: u32 = u32::BITS - SHORT_BITS;
/// Bits of a stage's head that hold how many samples there are.
const LEN_BITS: u32 = 8;

/// Written by its one reader with plain stores, read by whoever holds the lock of the books, under which alone it is
/// emptied.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Stage {
    head: AtomicU64,
    samples: [AtomicU32; STAGED],
}

/// What a stage holds: when the first sample was taken, and how many there are.
#[derive(Debug, Clone, Copy, Default)]
struct Held(u64);

impl Held {
    fn new(first: u64, len: usize) -> Self {
        Self(first << LEN_BITS | len as u64)
    }

    fn first(self) -> u64 {
        self.0 >> LEN_BITS
    }

    fn len(self) -> usize {
        usize::try_from(self.0 & ((1 << LEN_BITS) - 1)).unwrap_or(STAGED)
    }
}

impl Stage {
    /// Keeps a sample. `false`: it has no room for it.
    pub(crate) fn push(&self, sample: Sample) -> bool {
        let held = Held(self.head.load(Relaxed));
        let len = held.len();
        let first = if len == 0 { sample.at() } else { held.first() };
        let since = sample.at().wrapping_sub(first);
        let Some(place) = self.samples.get(len) else { return false };
        if since >> SINCE_BITS != 0 || sample.micros() >> SHORT_BITS != 0 {
            return false;
        }
        #[expect(clippy::cast_possible_truncation, reason = "both parts have just been found to fit")]
        place.store((since << SHORT_BITS | sample.micros()) as u32, Relaxed);
        self.head.store(Held::new(first, len + 1).0, Release);
        true
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Sample> {
        let held = Held(self.head.load(Acquire));
        self.samples.iter().take(held.len()).map(move |sample| {
            let sample = u64::from(sample.load(Relaxed));
            Sample::new(held.first() + (sample >> SHORT_BITS), sample & ((1 << SHORT_BITS) - 1))
        })
    }

    pub(crate) fn clear(&self) {
        self.head.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_out_as_they_went_in_or_are_refused() {
        let stage = Stage::default();
        let at = 1 << 30;
        let kept = [
            Sample::new(at, 0),
            Sample::new(at, (1 << SHORT_BITS) - 1),
            Sample::new(at + (1 << SINCE_BITS) - 1, 7),
        ];
        for refused in [Sample::new(at, 1 << SHORT_BITS), Sample::new(at, u64::MAX)] {
            assert!(!stage.push(refused), "too long, even as the first");
        }
        assert!(kept.iter().all(|sample| stage.push(*sample)));
        for refused in [Sample::new(at - 1, 7), Sample::new(at + (1 << SINCE_BITS), 7)] {
            assert!(!stage.push(refused), "too early or too late beside the others");
        }
        assert!(stage.iter().eq(kept));
        while stage.push(kept[0]) {}
        assert_eq!(stage.iter().count(), STAGED);
        stage.clear();
        assert_eq!(stage.iter().count(), 0);
    }
}
