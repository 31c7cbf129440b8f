//! Decoding times from presentation times in decoding order.

use std::time::Duration;

/// Deepest reordering of H.264 and H.265.
const DEPTH_MAX: usize = 16;

/// Least time between two pictures in decoding order, microseconds: pictures with equal times still follow each other.
const STEP_MIN: i64 = 100;

/// A picture so far before the last one starts anew; no reordering reaches as far.
const RESTART: i64 = 2_000_000;

/// A picture of depth N is decoded when the one that is shown N pictures earlier is shown: the decoding times are the
/// presentation times in order, N pictures late. No look-ahead, no delay.
#[derive(Debug)]
pub(crate) struct DecodeOrder {
    depth: usize,
    frame: i64,
    /// Presentation times that are not yet decoding times, in order.
    waiting: Vec<i64>,
    last: Option<i64>,
}

impl Default for DecodeOrder {
    fn default() -> Self {
        Self { depth: 0, frame: 40_000, waiting: Vec::new(), last: None }
    }
}

impl DecodeOrder {
    /// What the stream declares: pictures by which the order of decoding and showing differ, and the frame rate.
    pub(crate) fn configure(&mut self, depth: u8, framerate: Option<f64>) {
        self.depth = usize::from(depth).min(DEPTH_MAX);
        if let Some(rate) = framerate.filter(|rate| (1.0..=1000.0).contains(rate)) {
            let frame = Duration::from_secs_f64(1.0 / rate).as_micros();
            self.frame = i64::try_from(frame).unwrap_or(self.frame);
        }
    }

    /// The decoding time of the next picture, microseconds; never after `pts`.
    pub(crate) fn stamp(&mut self, pts: i64) -> i64 {
        if self.last.is_some_and(|last| pts < last - RESTART) {
            self.waiting.clear();
            self.last = None;
        }
        let first = self.waiting.first().copied().unwrap_or(pts).min(pts);
        let missing = self.depth.saturating_sub(self.waiting.len());
        for back in 1..=i64::try_from(missing).unwrap_or_default() {
            self.waiting.insert(0, first - back * self.frame);
        }
        let at = self.waiting.partition_point(|waiting| *waiting <= pts);
        self.waiting.insert(at, pts);
        let surplus = self.waiting.len().saturating_sub(self.depth + 1);
        let due = self.waiting.drain(..=surplus).next_back().unwrap_or(pts);
        if self.last.is_some_and(|last| due < last) && self.depth < DEPTH_MAX {
            // The stream reorders deeper than it says.
            self.depth += 1;
        }
        let least = self.last.map_or(due, |last| last + STEP_MIN);
        let dts = due.max(least).min(pts);
        self.last = Some(dts);
        dts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stamp(depth: u8, times: &[i64]) -> Vec<i64> {
        let mut order = DecodeOrder::default();
        order.configure(depth, Some(25.0));
        times.iter().map(|time| order.stamp(time * 40_000)).map(|dts| dts.div_euclid(40_000)).collect()
    }

    #[test]
    fn line_24_decoding_times_run_forward() {
        assert_eq!(stamp(1, &[0, 3, 1, 2, 6, 4, 5]), [-1, 0, 1, 2, 3, 4, 5]);
        assert_eq!(stamp(0, &[0, 1, 2]), [0, 1, 2]);
        assert_eq!(stamp(2, &[0, 4, 2, 1, 3, 8, 6, 5, 7]), [-2, -1, 0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_wrong_depth_heals() {
        let times: Vec<i64> = (0..20).flat_map(|group| [4, 2, 1, 3].map(|time| group * 4 + time)).collect();
        let out = stamp(1, &[&[0][..], &times].concat());
        assert!(out[12..].windows(2).all(|pair| pair[1] > pair[0]), "{out:?}");
    }

    #[test]
    fn a_step_back_starts_anew() {
        assert_eq!(stamp(1, &[1000, 1001, 1002, 0, 1]), [999, 1000, 1001, -1, 0]);
    }

    proptest! {
        #[test]
        fn never_after_the_presentation(depth in 0u8..20, times in prop::collection::vec(-1_000_000_000i64..1_000_000_000, 0..100)) {
            let mut order = DecodeOrder::default();
            order.configure(depth, None);
            for time in times {
                prop_assert!(order.stamp(time) <= time);
                prop_assert!(order.waiting.len() <= DEPTH_MAX + 1);
            }
        }
    }
}
