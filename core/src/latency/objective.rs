//! What latency is promised, and how much of the promise is used up.

use std::time::Duration;

use super::stage::TICK_BITS;
use crate::{Path, Pattern, Protocol};

/// Parts of a window that are forgotten one by one as time goes on.
const SLICES: usize = 30;

/// A promise: what leaves these broadcasts over this transport takes at most so long. How often it may be broken is the
/// caller's business; the model counts how often it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objective {
    /// Whose frames.
    pub broadcasts: Pattern,
    /// Over which transport; `None` is every one.
    pub transport: Option<Protocol>,
    /// A latency above this breaks the promise.
    pub below: Duration,
    /// How far back is looked.
    pub window: Duration,
}

impl Objective {
    pub(super) fn covers(&self, path: &Path, transport: Protocol) -> bool {
        self.transport.is_none_or(|only| only == transport) && self.broadcasts.matches(path)
    }
}

/// Frames within the window of an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observed {
    /// How many left.
    pub frames: u64,
    /// How many of them took too long.
    pub slow: u64,
}

/// How an objective fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectiveReading {
    /// All broadcasts together, those that have gone within the window included.
    pub all: Observed,
    /// Each broadcast that is live, by path and transport.
    pub each: Vec<(Path, Protocol, Observed)>,
}

/// The counts of one objective over its window.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) objective: usize,
    below_micros: u64,
    /// Ticks of a slice.
    slice: u64,
    /// Number of the slice, counted from the start of time, and what fell into it.
    slices: [(u64, Observed); SLICES + 1],
}

impl Window {
    pub(super) fn new(number: usize, objective: &Objective) -> Self {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self {
            objective: number,
            below_micros: micros(objective.below),
            slice: (micros(objective.window) >> TICK_BITS).div_ceil(SLICES as u64).max(1),
            slices: [(0, Observed::default()); SLICES + 1],
        }
    }

    /// `at` is in ticks since the start of time.
    pub(super) fn add(&mut self, at: u64, micros: u64) {
        let slow = u64::from(micros > self.below_micros);
        self.count(at / self.slice, Observed { frames: 1, slow });
    }

    pub(super) fn fold(&mut self, other: &Self) {
        for (number, kept) in other.slices {
            self.count(number, kept);
        }
    }

    /// What fell into the window that ends `at`.
    pub(super) fn read(&self, at: u64) -> Observed {
        let now = at / self.slice;
        let mut sum = Observed::default();
        for (number, kept) in &self.slices {
            if number + SLICES as u64 > now {
                sum.frames += kept.frames;
                sum.slow += kept.slow;
            }
        }
        sum
    }

    fn count(&mut self, number: u64, kept: Observed) {
        let place = usize::try_from(number % self.slices.len() as u64).unwrap_or(0);
        let Some(slice) = self.slices.get_mut(place) else { return };
        // What comes late for its slice is too old to matter.
        if number > slice.0 {
            *slice = (number, Observed::default());
        }
        if number == slice.0 {
            slice.1.frames += kept.frames;
            slice.1.slow += kept.slow;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        let objective = Objective {
            broadcasts: Pattern::new("**").unwrap(),
            transport: None,
            below: Duration::from_millis(500),
            window: Duration::from_secs(300),
        };
        Window::new(0, &objective)
    }

    fn millis(millis: u64) -> u64 {
        (millis * 1000) >> TICK_BITS
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut window = window();
        window.add(millis(0), 500_000);
        window.add(millis(5_000), 500_001);
        window.add(millis(299_999), 1);
        assert_eq!(window.read(millis(299_999)), Observed { frames: 3, slow: 1 });
        assert_eq!(window.read(millis(301_000)), Observed { frames: 1, slow: 0 });
        // The place of the first slice is taken again.
        window.add(millis(310_000), 1_000_000);
        window.add(millis(9_000), 1_000_000);
        assert_eq!(window.read(millis(310_000)), Observed { frames: 2, slow: 1 });
        assert_eq!(window.read(millis(1_000_000)), Observed::default());
    }

    #[test]
    fn windows_add_up() {
        let (mut one, mut other) = (window(), window());
        one.add(millis(20_000), 1);
        other.add(millis(20_000), 900_000);
        other.add(millis(290_000), 1);
        one.fold(&other);
        assert_eq!(one.read(millis(290_000)), Observed { frames: 3, slow: 1 });
    }
}
