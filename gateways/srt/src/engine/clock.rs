//! The peer's clock: from 32-bit timestamps to local time (draft-sharabayko-srt section 4.5).
//!
//! A timestamp is extended to 64 bits against the time that the peer's clock should show now, which needs no wrap
//! mode, survives any silence, and cannot be led astray by one bad packet.

use super::Micros;
use super::limits::{
    DRIFT_SAMPLES, DRIFT_SLEW, DRIFT_WINDOW, TIMESTAMP_AHEAD, TIMESTAMP_JUMPS, TIMESTAMP_PAST,
};

/// The estimate of one peer's clock.
#[derive(Debug)]
pub(crate) struct PeerClock {
    /// Local time at which the peer's clock stood at zero, one network delay included.
    base: Micros,
    /// Correction of `base` in force; moves towards `target`.
    drift: Micros,
    target: Micros,
    slewed_at: Micros,
    latency: Micros,
    /// Successive timestamps that made no sense.
    jumps: u32,
    window: Window,
    /// Half of the first window's mean round trip. Held fixed, so that a longer path later does not pass for drift.
    path: Option<Micros>,
}

/// Samples of one drift window.
#[derive(Debug, Default)]
struct Window {
    opened_at: Option<Micros>,
    count: i64,
    offsets: Micros,
    round_trips: Micros,
}

/// What [`PeerClock::place`] made of a timestamp.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Local time that corresponds to the timestamp, before drift: due at `origin + latency + drift`.
    pub(crate) origin: Micros,
    /// The timestamp made no sense and the packet is treated as sent just now.
    pub(crate) strange: bool,
}

impl PeerClock {
    /// The packet with `timestamp` arrived at `arrival`.
    pub(crate) fn new(arrival: Micros, timestamp: u32, latency: Micros) -> Self {
        Self {
            base: arrival - Micros::from(timestamp),
            drift: 0,
            target: 0,
            slewed_at: arrival,
            latency,
            jumps: 0,
            window: Window::default(),
            path: None,
        }
    }

    /// What to add to `origin` beside the latency.
    pub(crate) fn drift(&self) -> Micros {
        self.drift
    }

    /// Lets the correction move on to `now`.
    pub(crate) fn advance(&mut self, now: Micros) {
        const STEP: Micros = 1_000_000 / DRIFT_SLEW;
        // Silence earns no more than a second's worth of correction.
        self.slewed_at = self.slewed_at.max(now - 1_000_000);
        let steps = (now - self.slewed_at) / STEP;
        if steps > 0 {
            self.slewed_at += steps * STEP;
            self.drift += (self.target - self.drift).clamp(-steps, steps);
        }
    }

    /// Local time of a data packet's timestamp. A run of senseless ones re-anchors the clock.
    pub(crate) fn place(&mut self, timestamp: u32, now: Micros) -> Placed {
        let expected = now - self.base - self.drift;
        let ahead = distance(timestamp, expected);
        if (-TIMESTAMP_PAST..=self.latency + TIMESTAMP_AHEAD).contains(&ahead) {
            self.jumps = 0;
            return Placed { origin: now - self.drift + ahead, strange: false };
        }
        self.jumps += 1;
        if self.jumps >= TIMESTAMP_JUMPS {
            self.jumps = 0;
            // The jump and nothing else: the packet counts as sent just now.
            self.base -= ahead;
            self.window = Window::default();
        }
        Placed { origin: now - self.drift, strange: true }
    }

    /// A control packet that was answered at once came with `timestamp` after a round trip of `rtt`.
    pub(crate) fn sample(&mut self, timestamp: u32, rtt: Micros, now: Micros) {
        let expected = now - self.base - self.drift;
        let ahead = distance(timestamp, expected);
        if !(-TIMESTAMP_PAST..=TIMESTAMP_AHEAD).contains(&ahead) {
            return;
        }
        let window = &mut self.window;
        let opened_at = *window.opened_at.get_or_insert(now);
        window.count += 1;
        window.offsets += self.drift - ahead - rtt / 2;
        window.round_trips += rtt;
        if window.count < DRIFT_SAMPLES || now - opened_at < DRIFT_WINDOW {
            return;
        }
        let path = *self.path.get_or_insert(window.round_trips / window.count / 2);
        self.target = window.offsets / window.count + path;
        *window = Window::default();
    }
}

/// How far `timestamp` is ahead of `clock`, by the shorter way round.
fn distance(timestamp: u32, clock: Micros) -> Micros {
    Micros::from(timestamp.wrapping_sub(clock as u32) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Micros = 120_000;

    fn stamp(at: Micros) -> u32 {
        at as u32
    }

    #[test]
    fn both_sides_of_the_wrap_are_right_at_once() {
        let mut clock = PeerClock::new(0, 0, LATENCY);
        let wrap = 1i64 << 32;
        for late in [0, 30_000_000, 1_000_000, 59_999_999] {
            for now in [wrap - 1, wrap, wrap + 1, 2 * wrap + 7] {
                assert_eq!(
                    clock.place(stamp(now - late), now),
                    Placed { origin: now - late, strange: false }
                );
            }
        }
    }

    #[test]
    fn hours_of_silence_over_wraps_change_nothing() {
        let mut clock = PeerClock::new(500, 500, LATENCY);
        let now = 5 * 3_600_000_000;
        assert_eq!(clock.place(stamp(now), now).origin, now);
    }

    #[test]
    fn a_lone_jump_is_smoothed_and_a_lasting_one_re_anchors() {
        let mut clock = PeerClock::new(0, 0, LATENCY);
        let jump = 900_000_000;
        assert_eq!(
            clock.place(stamp(1_000_000 + jump), 1_000_000),
            Placed { origin: 1_000_000, strange: true }
        );
        assert!(!clock.place(stamp(1_001_000), 1_001_000).strange);
        for packet in 0..i64::from(TIMESTAMP_JUMPS) {
            let now = 2_000_000 + packet * 1_000;
            assert_eq!(clock.place(stamp(now + jump), now), Placed { origin: now, strange: true });
        }
        assert_eq!(
            clock.place(stamp(3_000_000 + jump), 3_000_000),
            Placed { origin: 3_000_000, strange: false }
        );
    }

    #[test]
    fn drift_follows_the_peer_within_the_slew_rate() {
        let mut clock = PeerClock::new(0, 0, LATENCY);
        // The peer runs 200 ppm slow: its stamps fall behind by 12 ms a minute.
        let mut last = 0;
        for now in (0..120_000_000).step_by(10_000) {
            clock.advance(now);
            clock.sample(stamp(now - now / 5_000 - 10_000), 20_000, now);
            assert!((clock.drift() - last).abs() <= 5, "slewed {} in 10 ms", clock.drift() - last);
            last = clock.drift();
        }
        let error = clock.drift() - (10_000 + 120_000_000 / 5_000);
        assert!(error.abs() < 3_000, "{error}");
    }

    #[test]
    fn a_longer_path_is_not_drift() {
        let mut clock = PeerClock::new(10_000, 0, LATENCY);
        for now in (0i64..60_000_000).step_by(10_000) {
            clock.advance(now);
            let delay = if now < 30_000_000 { 10_000 } else { 150_000 };
            clock.sample(stamp(now - delay), 2 * delay, now);
        }
        assert!(clock.drift().abs() <= 1, "{}", clock.drift());
    }
}
