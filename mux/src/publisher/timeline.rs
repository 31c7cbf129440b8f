//! The one time line of a broadcast, which never runs backwards.

use std::time::Duration;

use moqgate_core::Timestamp;

/// Tracks of one broadcast may be so far apart, and frames so far out of order. What lies further back is a sender that
/// started again.
const REWIND_AFTER: Duration = Duration::from_secs(10);

/// Put between the end of what was and the start of what follows a jump back: a frame at 25 per second.
const SEAM: Duration = Duration::from_millis(40);

/// Maps the times of an importer to those of the broadcast.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Added to everything since the last jump.
    offset: Duration,
    newest: Option<Timestamp>,
    interrupted: bool,
}

impl Timeline {
    /// The importer's time line jumps here, perhaps back.
    pub(super) fn interrupt(&mut self) {
        self.interrupted = true;
    }

    /// The broadcast's time for a frame at `pts`. Equal to it as long as nothing ever jumped back.
    pub(super) fn place(&mut self, pts: Timestamp) -> Timestamp {
        let placed = pts.checked_add(self.offset).unwrap_or(pts);
        let behind = self.newest.and_then(|newest| newest.checked_sub(placed)).unwrap_or_default();
        let rewound = behind > REWIND_AFTER || (self.interrupted && !behind.is_zero());
        self.interrupted = false;
        let placed = if rewound {
            self.offset += behind + SEAM;
            pts.checked_add(self.offset).unwrap_or(pts)
        } else {
            placed
        };
        self.newest = self.newest.max(Some(placed));
        placed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(timeline: &mut Timeline, seconds: u64) -> u64 {
        timeline.place(Timestamp::from_micros(seconds * 1_000_000)).as_micros()
    }

    #[test]
    fn a_restart_goes_on_behind_what_was() {
        let mut timeline = Timeline::default();
        assert_eq!(run(&mut timeline, 100), 100_000_000);
        assert_eq!(run(&mut timeline, 95), 95_000_000);
        assert_eq!(run(&mut timeline, 3), 100_040_000);
        assert_eq!(run(&mut timeline, 4), 101_040_000);
        timeline.interrupt();
        assert_eq!(run(&mut timeline, 3), 101_080_000);
        timeline.interrupt();
        assert_eq!(run(&mut timeline, 60), 158_080_000);
    }
}
