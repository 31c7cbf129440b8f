//! The renditions of a picture between which a player's stream can change.

use moqgate_mux::catalog::Catalog;

use super::choice::Choice;

/// The renditions, the largest first, and what each of them needs.
#[derive(Debug, Default)]
pub(super) struct Ladder(Vec<Rung>);

#[derive(Debug)]
struct Rung {
    choice: Choice,
    /// Bits per second.
    rate: Option<u64>,
}

impl Ladder {
    /// What can be sent of another catalog; what was measured of a rendition is kept.
    pub(super) fn update(&mut self, choices: Vec<Choice>, catalog: &Catalog) {
        let before = std::mem::take(&mut self.0);
        let rate = |track: &str| {
            let known = before.iter().find(|rung| rung.choice.track == track).and_then(|rung| rung.rate);
            known.or_else(|| catalog.video.renditions.get(track)?.bitrate)
        };
        self.0 = choices.into_iter().map(|choice| Rung { rate: rate(&choice.track), choice }).collect();
    }

    /// Nothing of another broadcast is known.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// So much was measured of a rendition.
    pub(super) fn measured(&mut self, track: &str, rate: u64) {
        if let Some(rung) = self.0.iter_mut().find(|rung| rung.choice.track == track) {
            rung.rate = Some(rate);
        }
    }

    /// The one that needs most.
    pub(super) fn first(&self) -> Option<&Choice> {
        self.0.first().map(|rung| &rung.choice)
    }

    /// The next one that needs less than `track`.
    pub(super) fn lower(&self, track: &str) -> Option<&Choice> {
        self.0.get(self.position(track)? + 1).map(|rung| &rung.choice)
    }

    /// The next one that needs more than `track`, and how much, if that is known.
    pub(super) fn higher(&self, track: &str) -> Option<(&Choice, Option<u64>)> {
        self.0.get(self.position(track)?.checked_sub(1)?).map(|rung| (&rung.choice, rung.rate))
    }

    fn position(&self, track: &str) -> Option<usize> {
        self.0.iter().position(|rung| rung.choice.track == track)
    }
}

#[cfg(test)]
mod tests {
    use moqgate_mux::rtp::{Codec, Format};

    use super::*;
    use crate::sdp::Payload;

    #[test]
    fn what_was_measured_outlives_a_catalog() {
        let choice = |track: &str| Choice {
            track: track.to_owned(),
            payload: Payload {
                number: 96,
                format: Format::new(Codec::Vp8, ""),
                parameters: String::new(),
                channels: 0,
            },
            aac: None,
        };
        let (mut ladder, catalog) = (Ladder::default(), Catalog::default());
        ladder.update(vec![choice("h"), choice("l")], &catalog);
        ladder.measured("h", 2_000_000);
        ladder.update(vec![choice("h"), choice("m"), choice("l")], &catalog);
        assert_eq!(ladder.lower("h").map(|choice| &choice.track[..]), Some("m"));
        assert_eq!(ladder.higher("m").map(|(_, rate)| rate), Some(Some(2_000_000)));
        assert_eq!(ladder.higher("l").map(|(_, rate)| rate), Some(None));
        assert!(ladder.lower("l").is_none() && ladder.higher("h").is_none() && ladder.lower("x").is_none());
    }
}
