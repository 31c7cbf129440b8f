//! Decoding times from display times, to send pictures evenly.
//!
//! Frames come in decoding order and tell when they are shown. With a reordering depth of n, a frame is decoded when
//! the smallest display time among it and the n before it comes: the same times in order, later by the depth.

/// Deepest reordering of H.264 and H.265.
const DEPTH_MAX: usize = 16;

/// Decoding times of one track, microseconds.
#[derive(Debug, Default)]
pub(super) struct Order {
    depth: usize,
    /// The newest display times, sorted, at most `depth + 1`.
    window: Vec<i64>,
}

impl Order {
    /// `depth`: what is known of the stream; it grows when the stream shows more.
    pub(super) fn new(depth: usize) -> Self {
        Self { depth: depth.min(DEPTH_MAX), window: Vec::new() }
    }

    /// The decoding time of the next frame, never after its display.
    pub(super) fn decode(&mut self, pts: i64, keyframe: bool) -> i64 {
        if keyframe && self.window.last().is_some_and(|newest| pts < newest - 10_000_000) {
            self.window.clear();
        }
        let later = self.window.iter().filter(|other| **other > pts).count();
        self.depth = self.depth.max(later.min(DEPTH_MAX));
        let at = self.window.partition_point(|other| *other <= pts);
        self.window.insert(at, pts);
        if self.window.len() > self.depth + 1 {
            self.window.remove(0);
        }
        // Until the window is full, its first entry stands for what was decoded before.
        self.window.first().map_or(pts, |first| pts.min(*first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_reordering_both_times_are_the_same() {
        let mut order = Order::new(0);
        assert!((0..10).all(|n| order.decode(n * 40, n == 0) == n * 40));
    }

    #[test]
    fn a_pyramid_is_decoded_evenly() {
        // I0 P4 B2 b1 b3 P8 B6 b5 b7 ..
        let mut order = Order::new(2);
        let shown = [0, 4, 2, 1, 3, 8, 6, 5, 7, 12, 10, 9, 11];
        let decoded: Vec<_> = shown.into_iter().map(|pts| order.decode(pts, pts == 0)).collect();
        assert_eq!(decoded, [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let mut learned = Order::new(0);
        let decoded: Vec<_> = shown.into_iter().map(|pts| learned.decode(pts, pts == 0)).collect();
        assert_eq!(decoded[5..], [3, 4, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn a_step_back_starts_over() {
        let mut order = Order::new(2);
        order.decode(60_000_000, true);
        assert_eq!(order.decode(0, true), 0);
    }
}
