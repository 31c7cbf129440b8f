//! How the clocks of sound and picture go together, as sender reports tell it (RFC 3550 section 6.4.1).

use std::time::{Duration, SystemTime};

use moqgate_core::Timestamp;

/// A media time that is this far from what the clock expects belongs to another time line.
const JUMP: Duration = Duration::from_secs(1);

/// One line from wall clock to media time for all streams of a player: only so do their reports agree.
#[derive(Debug, Default)]
pub(super) struct Clock {
    anchor: Option<(SystemTime, Timestamp)>,
}

impl Clock {
    /// A frame of this time is sent at `now`.
    pub(super) fn saw(&mut self, time: Timestamp, now: SystemTime) {
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
}
