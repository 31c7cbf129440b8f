//! What a reader asks of a track.

use std::time::Duration;

/// Where a reader of a track begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the newest group, from its first frame.
    #[default]
    Latest,
    /// At the oldest retained group of at least this sequence.
    From(u64),
    /// At the oldest retained group that is not older than the reader's `max_age`; without one, at the newest.
    WithinAge,
}

/// Most viewers that are told apart. The bound keeps sums from overflowing on what relays claim.
const DOWNSTREAM_MAX: u64 = 1_000_000_000;

/// What one reader asks of a track, or what all readers of a track ask together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// Higher is sent sooner.
    pub priority: u8,
    /// How far in media time a group may fall behind the newest before it may be dropped.
    pub max_age: Duration,
    /// Where to begin.
    pub start: Start,
    /// Last group wanted, inclusive.
    pub end: Option<u64>,
    /// Viewers behind this reader: a leaf is 1, a relay reports its sum, which is 0 while it only holds the subscription in
    /// case that somebody comes back.
    pub downstream: u64,
}

impl Default for Subscription {
    fn default() -> Self {
        Self { priority: 127, max_age: Duration::ZERO, start: Start::Latest, end: None, downstream: 1 }
    }
}

impl Subscription {
    /// What an upstream must deliver to satisfy both: the higher priority and age, the earlier start, the later end,
    /// the sum of the viewers.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            priority: self.priority.max(other.priority),
            max_age: self.max_age.max(other.max_age),
            start: self.start.merge(other.start),
            end: self.end.zip(other.end).map(|(a, b)| a.max(b)),
            downstream: self.downstream.saturating_add(other.downstream).min(DOWNSTREAM_MAX),
        }
    }

    /// With no more viewers than are told apart.
    pub(crate) fn counted(self) -> Self {
        Self { downstream: self.downstream.min(DOWNSTREAM_MAX), ..self }
    }

    /// The same for any number of viewers.
    pub(crate) const fn uncounted(self) -> Self {
        Self { downstream: 1, ..self }
    }
}

impl Start {
    /// An upstream is asked for a sequence only when every reader names one.
    fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::From(a), Self::From(b)) => Self::From(a.min(b)),
            (Self::Latest, Self::Latest) => Self::Latest,
            (Self::WithinAge, _) | (_, Self::WithinAge) => Self::WithinAge,
            (Self::Latest, Self::From(_)) | (Self::From(_), Self::Latest) => Self::Latest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_serves_both_readers() {
        let near =
            Subscription { priority: 60, start: Start::From(7), end: Some(9), ..Subscription::default() };
        let far = Subscription {
            priority: 80,
            max_age: Duration::from_secs(1),
            start: Start::From(3),
            end: None,
            downstream: 4,
        };
        let both = near.merge(far);
        assert_eq!(both.priority, 80);
        assert_eq!(both.max_age, Duration::from_secs(1));
        assert_eq!(both.start, Start::From(3));
        assert_eq!(both.end, None);
        assert_eq!(both.downstream, 5);
        assert_eq!(near.merge(near).end, Some(9));
        assert_eq!(near.merge(Subscription::default()).start, Start::Latest);
    }
}
