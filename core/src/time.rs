//! Media time.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// Microseconds in a second, and the finest timescale that the model keeps.
pub(crate) const MICROS_PER_SECOND: u64 = 1_000_000;

/// A point on a broadcast's timeline, in microseconds. Where zero lies is the publisher's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The start of the timeline.
    pub const ZERO: Self = Self(0);

    /// A timestamp of so many microseconds.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start of the timeline.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// `value` ticks of `1 / timescale` seconds, or `None` when the timescale is 0 or the result does not fit.
    #[must_use]
    pub fn from_scale(value: u64, timescale: u64) -> Option<Self> {
        let ticks = u128::from(value) * u128::from(MICROS_PER_SECOND);
        let scale = u128::from(timescale);
        let rounded = (ticks + scale / 2).checked_div(scale)?;
        u64::try_from(rounded).ok().map(Self)
    }

    /// This time in ticks of `1 / timescale` seconds, rounded to the nearest, saturating.
    #[must_use]
    pub fn to_scale(self, timescale: u64) -> u64 {
        let micros = u128::from(MICROS_PER_SECOND);
        let rounded = (u128::from(self.0) * u128::from(timescale) + micros / 2) / micros;
        u64::try_from(rounded).unwrap_or(u64::MAX)
    }

    /// This time moved later, or `None` past the end of the range.
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let micros = u64::try_from(duration.as_micros()).ok()?;
        self.0.checked_add(micros).map(Self)
    }

    /// The time since `earlier`, or `None` when it lies later.
    #[must_use]
    pub fn checked_sub(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_micros)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.0)
    }
}

/// Microseconds from `base` to `now`, none before it. In 64 bits: what every frame passes through has no time for the
/// 128 of [`Duration::as_micros`].
pub(crate) fn micros_since(base: Instant, now: Instant) -> u64 {
    let since = now.saturating_duration_since(base);
    since.as_secs().saturating_mul(MICROS_PER_SECOND).saturating_add(u64::from(since.subsec_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn coarse_scales_survive_the_round_trip(value in 0..1_u64 << 40, scale in prop::sample::select(vec![1000_u64, 48_000, 90_000, 1_000_000])) {
            let there = Timestamp::from_scale(value, scale).unwrap();
            prop_assert_eq!(there.to_scale(scale), value);
        }
    }

    #[test]
    fn nothing_overflows() {
        assert_eq!(Timestamp::from_scale(1, 0), None);
        assert_eq!(Timestamp::from_scale(u64::MAX, 1), None);
        assert_eq!(Timestamp::from_micros(u64::MAX).to_scale(90_000), 1_660_206_966_633_859_645);
        assert_eq!(Timestamp::from_micros(u64::MAX).checked_add(Duration::from_micros(1)), None);
        assert_eq!(Timestamp::ZERO.checked_sub(Timestamp::from_micros(1)), None);
    }
}
