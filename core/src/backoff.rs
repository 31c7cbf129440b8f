//! How long whoever calls a peer waits before calling again.

use std::time::Duration;

/// Waits that double from failure to failure, up to a limit. Each is cut by up to a quarter at random, so that a thousand
/// callers do not come back in the same second. It reads no clock: it says how long to wait, and is told how long things
/// lasted.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    /// A connection that lasted this long was one: the next failure is a first one again.
    pub const SETTLED: Duration = Duration::from_secs(5);

    /// Waits from `min` to `max`. `seed` is any number that differs between callers.
    #[must_use]
    pub fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self { min, max: max.max(min), next: min, random: seed | 1 }
    }

    /// The wait after a failure.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.max);
        // xorshift64: it only has to differ between callers.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let share = (self.random >> 32) as f64 / f64::from(u32::MAX);
        wait.mul_f64(0.75 + 0.25 * share)
    }

    /// The wait after the end of a connection that had lasted so long.
    pub fn after(&mut self, lasted: Duration) -> Duration {
        if lasted >= Self::SETTLED {
            self.reset();
        }
        self.next_wait()
    }

    /// The next wait is the shortest one.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(seed: u64) -> Backoff {
        Backoff::new(Duration::from_secs(1), Duration::from_secs(30), seed)
    }

    #[test]
    fn waits_double_up_to_the_limit_and_start_over() {
        let mut backoff = backoff(7);
        for expected in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            let wait = backoff.next_wait().as_secs_f64();
            assert!((expected * 0.75..=expected).contains(&wait), "{wait} for {expected}");
        }
        assert!(backoff.after(Duration::from_secs(1)) > Duration::from_secs(20), "it was not there for long");
        assert!(backoff.after(Backoff::SETTLED) <= Duration::from_secs(1));
    }

    #[test]
    fn callers_do_not_come_back_together() {
        let mut waits: Vec<_> = (0..100)
            .map(|seed| backoff(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15)).next_wait())
            .collect();
        waits.sort();
        waits.dedup();
        assert!(waits.len() > 40, "{}", waits.len());
    }
}
