//! What a player is sent where its link does not carry everything. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use moqgate_core::Timestamp;

use crate::engine::PACE_START;

/// Packets leave at this multiple of what the link carries, so that a keyframe of many packets takes a while but not long
/// (tenths).
const PACE_TENTHS: u64 = 25;
/// The slowest pace of a link that carries everything, bits per second.
const PACE_MIN: u64 = 1_000_000;
/// An estimate of this share of what is needed is not enough (percent). Estimates of links that carry everything lie
/// down to 10 % below what is sent.
const SHORT_PERCENT: u64 = 80;
/// For how long it has to be that low.
const SHORT_AFTER: Duration = Duration::from_millis(500);
/// Between going down and going further down: the estimate has to show what that has brought.
const DOWN_AFTER: Duration = Duration::from_secs(2);
/// How much more than a larger picture needs the estimate has to be (percent).
const UP_PERCENT: u64 = 120;
/// Between going down and trying to go up, at least and at most: every try that fails doubles it.
const UP_AFTER: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(120));
/// What one step of renditions makes of the bitrate, where nothing else is known (tenths).
const STEP_TENTHS: u64 = 25;

/// Another rendition is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// One that needs more.
    Up,
    /// One that needs less.
    Down,
}

/// Decides for one player.
#[derive(Debug)]
pub(super) struct Adapter {
    /// Since when the estimate is too low.
    short: Option<Instant>,
    /// Since when the player gets less than everything.
    congested: Option<Instant>,
    switched: Option<(Instant, Step)>,
    up_after: Duration,
}

impl Default for Adapter {
    fn default() -> Self {
        Self { short: None, congested: None, switched: None, up_after: UP_AFTER.0 }
    }
}

impl Adapter {
    /// `estimate` is what the link carries, if that is known, `needed` what is to be sent, bits per second. Gives the pace.
    pub(super) fn handle(&mut self, estimate: Option<u64>, needed: u64, now: Instant) -> u64 {
        let Some(estimate) = estimate else {
            (self.short, self.congested) = (None, None);
            return (needed * PACE_TENTHS / 10).max(PACE_START);
        };
        if estimate >= needed {
            (self.short, self.congested) = (None, None);
        } else if estimate < needed * SHORT_PERCENT / 100 {
            let short = *self.short.get_or_insert(now);
            if now.saturating_duration_since(short) >= SHORT_AFTER {
                self.congested.get_or_insert(now);
            }
        } else {
            self.short = None;
        }
        match self.congested {
            Some(_) => estimate,
            None => (estimate.max(needed) * PACE_TENTHS / 10).max(PACE_MIN),
        }
    }

    /// Whether the player gets less than everything.
    pub(super) fn is_congested(&self) -> bool {
        self.congested.is_some()
    }

    /// Whether another rendition is to be sent. `higher` is what the next larger one needs, if there is one: as measured, or
    /// else `None` within.
    pub(super) fn step(
        &mut self,
        estimate: Option<u64>,
        needed: u64,
        lower: bool,
        higher: Option<Option<u64>>,
        now: Instant,
    ) -> Option<Step> {
        let since = |at: Instant| now.saturating_duration_since(at);
        let rested = |wait: Duration| self.switched.is_none_or(|(at, _)| since(at) >= wait);
        if lower && self.congested.is_some() && rested(DOWN_AFTER) {
            // A try that has failed.
            let failed = self.switched.is_some_and(|(at, step)| step == Step::Up && since(at) < UP_AFTER.0);
            self.up_after = if failed { (self.up_after * 2).min(UP_AFTER.1) } else { UP_AFTER.0 };
            return Some(Step::Down);
        }
        let more = higher?.unwrap_or(needed * STEP_TENTHS / 10);
        let enough = estimate.is_some_and(|estimate| estimate >= more * UP_PERCENT / 100);
        (enough && self.congested.is_none() && rested(self.up_after)).then_some(Step::Up)
    }

    /// Another rendition is sent now.
    pub(super) fn switched(&mut self, step: Step, now: Instant) {
        self.switched = Some((now, step));
        (self.short, self.congested) = (None, None);
    }

    /// The rendition that was to be sent does not come. A larger one is not tried again soon.
    pub(super) fn lost(&mut self, now: Instant) {
        self.switched = Some((now, Step::Down));
    }
}

/// What a track needs, by the time that its frames show: what is sent of it says nothing while a link is too slow.
#[derive(Debug, Default)]
pub(super) struct Measure {
    frames: VecDeque<(Timestamp, usize)>,
    bytes: usize,
}

/// What is measured over: a keyframe and what follows it.
const MEASURED: Duration = Duration::from_secs(2);
/// The least that says something.
const MEASURED_MIN: Duration = Duration::from_millis(900);
/// Most frames in it: 120 a second.
const FRAMES_MAX: usize = 256;
/// What RTP, SRTP and header extensions add to the payload (percent).
const WIRE_PERCENT: u64 = 105;

impl Measure {
    /// A frame of so many bytes.
    pub(super) fn push(&mut self, time: Timestamp, bytes: usize) {
        self.frames.push_back((time, bytes));
        self.bytes += bytes;
        while let Some((first, bytes)) = self.frames.front().copied() {
            let span = time.checked_sub(first);
            if span.is_some_and(|span| span <= MEASURED) && self.frames.len() <= FRAMES_MAX {
                break;
            }
            self.frames.pop_front();
            self.bytes -= bytes;
        }
    }

    /// Bits per second on the wire. `None`: not enough was seen.
    pub(super) fn rate(&self) -> Option<u64> {
        let ((first, _), (last, newest)) = (self.frames.front()?, self.frames.back()?);
        let span = last.checked_sub(*first).filter(|span| *span >= MEASURED_MIN)?;
        let bits = (self.bytes - newest) as u64 * 8 * WIRE_PERCENT / 100;
        Some(bits * 1_000_000 / (span.as_micros() as u64).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_link_that_carries_everything_paces_and_nothing_else() {
        let (mut adapter, now) = (Adapter::default(), Instant::now());
        assert_eq!(adapter.handle(None, 2_000_000, now), PACE_START, "nothing is known");
        assert_eq!(adapter.handle(Some(4_000_000), 2_000_000, now), 10_000_000);
        assert_eq!(adapter.handle(Some(1_800_000), 2_000_000, now + SECOND), 5_000_000);
        assert_eq!(adapter.handle(Some(1_000_000), 2_000_000, now + 2 * SECOND), 5_000_000, "a moment");
        assert!(!adapter.is_congested());
        assert_eq!(adapter.step(Some(4_000_000), 2_000_000, true, None, now), None);
    }

    #[test]
    fn a_short_link_steps_down_and_tries_less_and_less_often_to_go_up() {
        let (mut adapter, mut now) = (Adapter::default(), Instant::now());
        let mut tries = Vec::new();
        let mut low = false;
        let start = now;
        for _ in 0..4 * 200 {
            now += SECOND / 4;
            // The link carries 1 Mbit/s; the pictures need 2, or 0.5 Mbit/s; what is known of the link grows in silence.
            let (needed, estimate) = if low { (500_000, 3_000_000) } else { (2_000_000, 900_000) };
            let pace = adapter.handle(Some(estimate), needed, now);
            assert!(low || !adapter.is_congested() || pace == 900_000);
            let higher = low.then_some(Some(2_000_000));
            if let Some(step) = adapter.step(Some(estimate), needed, !low, higher, now) {
                adapter.switched(step, now);
                low = step == Step::Down;
                if step == Step::Up {
                    tries.push((now - start).as_secs());
                }
            }
        }
        let waits: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(waits.len() >= 3 && waits.windows(2).all(|pair| pair[1] > pair[0] + 9), "{tries:?}");
    }

    #[test]
    fn need_is_measured_in_media_time() {
        let mut measure = Measure::default();
        for frame in 0..50u64 {
            measure.push(Timestamp::from_micros(frame * 40_000), 5000);
            assert_eq!(measure.rate().is_some(), frame * 40 >= 900, "{frame}");
        }
        assert_eq!(measure.rate(), Some(1_050_000));
        measure.push(Timestamp::from_micros(0), 5000);
        assert_eq!(measure.rate(), None, "another time line");
        for frame in 0..10_000u64 {
            measure.push(Timestamp::from_micros(frame), 1);
        }
        assert!(measure.frames.len() <= FRAMES_MAX + 1);
    }
}
