//! The time of audio frames, counted in samples and kept near the packets' timestamps.

use std::time::Duration;

use moqgate_core::Timestamp;

const MICROS: u64 = 1_000_000;

/// One part in so many of a small difference is corrected per packet: rounding and jitter of timestamps do not reach
/// the frames, the slow drift of a sender's clock does.
const SLEW: i64 = 64;

/// A time line that advances by samples.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// Microseconds at sample 0; `None` until a packet gave a time.
    base: Option<u64>,
    samples: u64,
    rate: u64,
    /// Duration of the last unit.
    step: Duration,
    /// The next packet's time holds exactly.
    lost: bool,
}

impl Clock {
    /// The time of the next unit.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        let passed = (self.samples * MICROS + self.rate / 2).checked_div(self.rate).unwrap_or(0);
        self.base?.checked_add(passed).map(Timestamp::from_micros)
    }

    /// The next unit's time according to its packet. Up to half a frame off, the count of samples goes on: sound has
    /// no gap there. Further off, frames were lost or the sender jumped.
    pub(crate) fn sync(&mut self, time: Timestamp) {
        let difference = self.now().map(|now| time.as_micros().cast_signed() - now.as_micros().cast_signed());
        let tolerance = i64::try_from(self.step.as_micros() / 2).unwrap_or(i64::MAX);
        match (difference, self.base) {
            (Some(difference), Some(base)) if difference.abs() <= tolerance && !self.lost => {
                self.base = Some(base.saturating_add_signed(difference / SLEW));
            }
            _ => {
                self.base = Some(time.as_micros());
                self.samples = 0;
            }
        }
        self.lost = false;
    }

    /// Counts a unit; returns how long it plays.
    pub(crate) fn advance(&mut self, samples: u32, rate: u32) -> Duration {
        let rate = u64::from(rate.max(1));
        if rate != self.rate {
            self.base = self.now().map(Timestamp::as_micros);
            self.samples = 0;
            self.rate = rate;
        }
        self.samples += u64::from(samples);
        self.step = duration(samples, rate);
        self.step
    }

    /// Sound is missing: the next packet's time holds exactly.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }
}

fn duration(samples: u32, rate: u64) -> Duration {
    Duration::from_micros(u64::from(samples) * MICROS / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn counts_samples_without_adding_up_rounding() {
        let mut clock = Clock::default();
        assert_eq!(clock.now(), None);
        clock.sync(at(1000));
        for _ in 0..44_100 {
            clock.advance(1024, 44_100);
        }
        assert_eq!(clock.now(), Some(at(1000 + 1024 * MICROS)));
    }

    #[test]
    fn line_10_rounded_times_do_not_jitter() {
        let mut clock = Clock::default();
        for frame in 0..1000u64 {
            // As a sender with millisecond stamps gives them.
            let exact = frame * 1024 * MICROS / 48_000;
            clock.sync(at(exact / 1000 * 1000));
            let now = clock.now().unwrap().as_micros();
            assert!(exact.abs_diff(now) <= 1000, "{exact} {now}");
            clock.advance(1024, 48_000);
        }
    }

    #[test]
    fn follows_drift_and_takes_jumps() {
        let mut clock = Clock::default();
        for frame in 0..10_000u64 {
            // 100 parts per million fast.
            let shown = frame * 21_333 + frame * 21_333 / 10_000;
            clock.sync(at(shown));
            assert!(clock.now().unwrap().as_micros().abs_diff(shown) < 2000);
            clock.advance(1024, 48_000);
        }
        clock.sync(at(1_000_000_000));
        assert_eq!(clock.now(), Some(at(1_000_000_000)));
        clock.advance(1024, 48_000);
        clock.lose();
        clock.sync(at(1_000_020_000));
        assert_eq!(clock.now(), Some(at(1_000_020_000)));
    }
}
