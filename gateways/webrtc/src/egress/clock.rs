//! The time line of a player: one for all broadcasts that it is shown, and how the clocks of sound and picture go
//! together on it, as sender reports tell it (RFC 3550 section 6.4.1).

use std::time::{Duration, SystemTime};

use moqgate_core::Timestamp;

/// A media time that is this far from what the clock expects belongs to another time line.
const JUMP: Duration = Duration::from_secs(1);
/// The next broadcast begins at least so much after the last one: its sound and picture need not begin together, and
/// what lies before its live edge is shown, too.
const NEXT: Duration = Duration::from_millis(500);

/// One line from wall clock to media time for all streams of a player: only so do their reports agree.
#[derive(Debug, Default)]
pub(super) struct Clock {
    anchor: Option<(SystemTime, Timestamp)>,
    /// A time of the broadcast at hand, and where it lies on the line.
    line: Option<(Timestamp, Timestamp)>,
    newest: Option<Timestamp>,
}

impl Clock {
    /// What is placed from now on is of another broadcast.
    pub(super) fn restart(&mut self) {
        self.line = None;
    }

    /// Where a frame of the broadcast at hand, which is sent at `now`, lies on the line. `edge` is the newest time of the
    /// broadcast when the player began. A broadcast after the first one goes on where the line is by then.
    pub(super) fn place(&mut self, time: Timestamp, edge: Timestamp, now: SystemTime) -> Timestamp {
        let (from, to) = match (self.line, self.newest) {
            (Some(line), _) => line,
            (None, None) => (Timestamp::ZERO, Timestamp::ZERO),
            (None, Some(newest)) => {
                let next = newest.checked_add(NEXT).unwrap_or(newest);
                (time.max(edge), self.at(now).unwrap_or_default().max(next))
            }
        };
        self.line = Some((from, to));
        let micros = (to.as_micros().saturating_add(time.as_micros())).saturating_sub(from.as_micros());
        let placed = Timestamp::from_micros(micros);
        self.newest = self.newest.max(Some(placed));
        self.saw(placed, now);
        placed
    }

    /// A frame of this time is sent at `now`.
    fn saw(&mut self, time: Timestamp, now: SystemTime) {
        let expected = self.at(now);
        let near = expected.is_some_and(|expected| {
            expected.as_micros().abs_diff(time.as_micros()) < JUMP.as_micros() as u64
        });
        if !near {
            self.anchor = Some((now, time));
        }
    }

    /// The media time of `now`.
    pub(super) fn at(&self, now: SystemTime) -> Option<Timestamp> {
        let (wall, media) = self.anchor?;
        match now.duration_since(wall) {
            Ok(since) => media.checked_add(since),
            Err(error) => {
                let before = u64::try_from(error.duration().as_micros()).unwrap_or(u64::MAX);
                Some(Timestamp::from_micros(media.as_micros().saturating_sub(before)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_holds_until_the_media_jumps() {
        let (mut clock, wall) = (Clock::default(), SystemTime::now());
        let (second, media) = (Duration::from_secs(1), Timestamp::from_micros);
        assert_eq!(clock.at(wall), None);
        clock.saw(media(5_000_000), wall);
        clock.saw(media(6_300_000), wall + second);
        assert_eq!(clock.at(wall + 2 * second), Some(media(7_000_000)), "jitter does not move it");
        clock.saw(media(90_000_000), wall + 2 * second);
        assert_eq!(clock.at(wall + 3 * second), Some(media(91_000_000)));
    }

    #[test]
    fn the_next_broadcast_goes_on_where_the_line_is() {
        let (mut clock, wall) = (Clock::default(), SystemTime::now());
        let (second, media) = (Duration::from_secs(1), Timestamp::from_micros);
        assert_eq!(clock.place(media(700), media(900), wall), media(700), "the first one lies as it is");
        assert_eq!(clock.place(media(1_000_700), media(900), wall + second), media(1_000_700));
        clock.restart();
        let edge = media(70_000_000);
        let first = clock.place(media(69_900_000), edge, wall + 5 * second);
        assert_eq!(first, media(4_900_700), "its live edge is now");
        assert_eq!(clock.place(edge, edge, wall + 5 * second), media(5_000_700));
        clock.restart();
        let at_once = clock.place(media(3), media(0), wall + 5 * second);
        assert_eq!(at_once, media(5_500_700), "never back, and not on top of what was sent");
        assert_eq!(clock.place(media(0), media(0), wall + 5 * second), media(5_500_697));
    }
}
