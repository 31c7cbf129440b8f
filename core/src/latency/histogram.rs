//! Latencies sorted into buckets whose bounds double.

use std::{ops::AddAssign, time::Duration};

/// Buckets with a bound: 250 us, 500 us and so on to 16.384 s. One more holds what is longer.
const BOUNDS: usize = 17;
/// The first bound, microseconds: what a frame takes through an idle process.
const FIRST_MICROS: u64 = 250;

/// How often a latency fell into each bucket, since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Histogram {
    counts: [u64; BOUNDS + 1],
    sum_micros: u64,
}

impl Histogram {
    pub(super) fn add(&mut self, micros: u64) {
        let doublings = (micros.saturating_sub(1) / FIRST_MICROS).checked_ilog2().map_or(0, |log| log + 1);
        let bucket = usize::try_from(doublings).unwrap_or(BOUNDS).min(BOUNDS);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum_micros = self.sum_micros.saturating_add(micros);
    }

    /// How many latencies there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros)
    }

    /// Each bound, and how many latencies are not longer. What is longer than the last bound is only in
    /// [`count`](Self::count).
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + use<> {
        let mut below = 0;
        self.counts.into_iter().take(BOUNDS).zip(0_u32..).map(move |(count, doublings)| {
            below += count;
            (Duration::from_micros(FIRST_MICROS << doublings), below)
        })
    }
}

impl AddAssign for Histogram {
    fn add_assign(&mut self, other: Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.sum_micros = self.sum_micros.saturating_add(other.sum_micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_inclusive_and_the_last_bucket_has_none() {
        let mut histogram = Histogram::default();
        for micros in [0, 250, 251, 500, 501, 16_384_000, 16_384_001, u64::MAX] {
            histogram.add(micros);
        }
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets[0], (Duration::from_micros(250), 2));
        assert_eq!(buckets[1], (Duration::from_micros(500), 4));
        assert_eq!(buckets[2], (Duration::from_millis(1), 5));
        assert_eq!(buckets[BOUNDS - 1], (Duration::from_micros(16_384_000), 6));
        assert_eq!(histogram.count(), 8);
    }
}
