//! Spreads packets over time: a keyframe that leaves at once overflows the queues on its way.

use std::time::{Duration, Instant};

/// What leaves at once is what this time carries. Timers are not much finer.
const TURN: Duration = Duration::from_millis(5);
/// Beside two packets, so that a slow stream does not need a timer for each.
const TURN_BYTES_MIN: i64 = 2400;
/// A timer that comes late is made up for up to this: a busy machine does not make the rate another one.
const LATE_MAX: Duration = Duration::from_millis(40);

/// The pace while nothing is known of the link, bits per second: the group at hand is there soon, and a home's link is not
/// flooded for long.
pub(crate) const PACE_START: u64 = 15_000_000;

/// A leaky bucket of bytes. Pure.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bits per second.
    rate: u64,
    /// What may leave now; the last packet may go beyond.
    budget: i64,
    at: Option<Instant>,
    waiting: bool,
}

impl Pace {
    /// Paces at so many bits per second.
    pub(super) fn new(rate: u64) -> Self {
        Self { rate, budget: TURN_BYTES_MIN, at: None, waiting: false }
    }

    /// Another rate, which holds from the next packet on.
    pub(super) fn set_rate(&mut self, rate: u64) {
        self.rate = rate;
    }

    /// Whether the next packet may leave. Ask only when there is one.
    pub(super) fn is_ready(&mut self, now: Instant) -> bool {
        self.earn(now);
        self.waiting = self.budget <= 0;
        !self.waiting
    }

    /// For how long at this rate more has left than might: packets that are sent again do not wait.
    pub(super) fn debt(&mut self, now: Instant) -> Duration {
        self.earn(now);
        self.missing()
    }

    fn earn(&mut self, now: Instant) {
        let passed = self.at.map_or(TURN, |at| now.saturating_duration_since(at));
        if !passed.is_zero() {
            let most = self.budget_of(if self.waiting { LATE_MAX } else { TURN }).max(TURN_BYTES_MIN);
            let earned = self.budget_of(passed.min(Duration::from_secs(1)));
            self.budget = self.budget.saturating_add(earned).min(most);
        }
        self.at = Some(now);
    }

    /// A packet of so many bytes leaves.
    pub(super) fn took(&mut self, bytes: usize) {
        self.budget = self.budget.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// When to ask again, if the last answer was no.
    pub(super) fn due(&self) -> Option<Instant> {
        let at = self.at.filter(|_| self.waiting)?;
        Some(at + self.missing().clamp(TURN, Duration::from_secs(1)))
    }

    /// Bytes that the rate carries in that time.
    pub(super) fn bytes_in(&self, time: Duration) -> usize {
        let bits = u128::from(self.rate) * time.as_micros() / 1_000_000;
        usize::try_from(bits / 8).unwrap_or(usize::MAX)
    }

    /// The time that pays back what was taken too much.
    fn missing(&self) -> Duration {
        let bytes = self.budget.min(0).unsigned_abs();
        Duration::from_micros(bytes.saturating_mul(8_000_000) / self.rate.max(1))
    }

    fn budget_of(&self, time: Duration) -> i64 {
        i64::try_from(self.bytes_in(time)).unwrap_or(i64::MAX)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new(PACE_START)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many packets of 1200 bytes leave in `time`, and the most that leave in one go.
    fn drain(pace: &mut Pace, start: Instant, time: Duration, late: Duration) -> (usize, usize) {
        let (mut now, mut all, mut most) = (start, 0, 0);
        while now < start + time {
            let mut burst = 0;
            while pace.is_ready(now) {
                pace.took(1200);
                burst += 1;
            }
            (all, most) = (all + burst, most.max(burst));
            now = pace.due().expect("it waits") + late;
        }
        (all, most)
    }

    #[test]
    fn a_burst_is_spread_at_the_rate() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        // 9.6 Mbit/s are 1000 packets of 1200 bytes a second, five in a turn.
        let (all, most) = drain(&mut Pace::new(9_600_000), start, second, Duration::ZERO);
        assert!((995..1010).contains(&all) && most <= 7, "{all} packets, {most} at once");
        let (all, most) = drain(&mut Pace::new(9_600_000), start, second, Duration::from_millis(15));
        assert!((960..1010).contains(&all) && most <= 41, "late timers: {all} packets, {most} at once");
        let (all, most) = drain(&mut Pace::new(96_000), start, second, Duration::ZERO);
        assert!((8..=13).contains(&all) && most <= 3, "slow: {all} packets, {most} at once");
    }

    #[test]
    fn a_debt_is_paid_back_before_anything_leaves() {
        let (mut pace, start) = (Pace::new(960_000), Instant::now());
        assert_eq!(pace.debt(start), Duration::ZERO);
        (0..12).for_each(|_| pace.took(1200));
        let debt = pace.debt(start).as_millis();
        assert!((95..=105).contains(&debt), "{debt}: 14,400 bytes but those of a turn, at 120,000 a second");
        assert!(!pace.is_ready(start + Duration::from_millis(90)));
        assert!(pace.is_ready(start + Duration::from_millis(110)));
    }

    #[test]
    fn silence_earns_no_burst() {
        let (mut pace, start) = (Pace::new(9_600_000), Instant::now());
        assert!(pace.is_ready(start));
        pace.took(1200);
        let later = start + Duration::from_secs(10);
        let (_, most) = drain(&mut pace, later, Duration::from_millis(20), Duration::ZERO);
        assert!(most <= 6, "{most} at once");
    }
}
