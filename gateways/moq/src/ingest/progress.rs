//! How far a subscription has come: what its replies and its groups say together.

use crate::wire::{SubscribeReply, Version};

/// The books of one subscription.
#[derive(Debug)]
pub(super) struct Progress {
    version: Version,
    /// Sequence of the first group, as START has it or as the first arrival shows.
    first: Option<u64>,
    newest: Option<u64>,
    /// Groups that came, and groups that the peer said will not come.
    settled: u64,
    end: Option<u64>,
}

/// What a peer said about a track cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Contradiction(&'static str);

impl Progress {
    pub(super) fn new(version: Version) -> Self {
        Self { version, first: None, newest: None, settled: 0, end: None }
    }

    /// Books a reply. `Some`: no group at or past that sequence will come.
    pub(super) fn reply(&mut self, reply: SubscribeReply) -> Result<Option<u64>, Contradiction> {
        match reply {
            SubscribeReply::Ok(_) => Ok(None),
            SubscribeReply::Start { group } => {
                self.first = Some(self.first.map_or(group, |first| first.min(group)));
                Ok(None)
            }
            SubscribeReply::Drop { first, last, .. } => {
                self.settled = self.settled.saturating_add(last.saturating_sub(first).saturating_add(1));
                Ok(None)
            }
            SubscribeReply::End { group } => self.ends_at(group),
        }
    }

    fn ends_at(&mut self, end: u64) -> Result<Option<u64>, Contradiction> {
        let received = self.newest.map_or(0, |newest| newest.saturating_add(1));
        if self.version < Version::Lite06 {
            // Old browsers name the last group itself. So the end is not passed on until everything is here.
            self.end = Some(end.max(received));
            return Ok(None);
        }
        if end < received {
            return Err(Contradiction("END below a group that has come"));
        }
        self.end = Some(end);
        Ok(Some(end))
    }

    /// Books a group.
    pub(super) fn group(&mut self, sequence: u64) -> Result<(), Contradiction> {
        if self.version >= Version::Lite06 && self.end.is_some_and(|end| sequence >= end) {
            return Err(Contradiction("GROUP at or past END"));
        }
        self.first.get_or_insert(sequence);
        self.newest = self.newest.max(Some(sequence));
        self.settled = self.settled.saturating_add(1);
        Ok(())
    }

    /// Whether the peer may end its replies now: without END only where there is none.
    pub(super) fn may_finish(&self) -> bool {
        self.end.is_some() || !self.version.has_start_and_end()
    }

    /// Whether all that was promised is here. Streams may overtake each other: not before this, or some time, has
    /// passed is a track at its end.
    pub(super) fn is_complete(&self) -> bool {
        self.end.is_some_and(|end| end.saturating_sub(self.first.unwrap_or(end)) <= self.settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END_7: SubscribeReply = SubscribeReply::End { group: 7 };

    fn after(version: Version, groups: &[u64]) -> Progress {
        let mut progress = Progress::new(version);
        for group in groups {
            progress.group(*group).unwrap();
        }
        progress
    }

    #[test]
    fn complete_when_every_group_has_come() {
        let mut progress = after(Version::Lite06, &[4]);
        assert_eq!(progress.reply(END_7), Ok(Some(7)));
        assert!(progress.may_finish() && !progress.is_complete());
        progress.group(6).unwrap();
        assert!(!progress.is_complete());
        progress.group(5).unwrap();
        assert!(progress.is_complete());
    }

    #[test]
    fn dropped_groups_are_not_waited_for() {
        let mut progress = Progress::new(Version::Lite06);
        progress.reply(SubscribeReply::Start { group: 3 }).unwrap();
        progress.group(3).unwrap();
        progress.reply(END_7).unwrap();
        assert!(!progress.is_complete());
        progress.reply(SubscribeReply::Drop { first: 4, last: 6, code: 0x34 }).unwrap();
        assert!(progress.is_complete());
    }

    #[test]
    fn an_empty_track_is_complete() {
        let mut progress = Progress::new(Version::Lite05);
        assert!(!progress.may_finish());
        progress.reply(SubscribeReply::End { group: 0 }).unwrap();
        assert!(progress.may_finish() && progress.is_complete());
    }

    #[test]
    fn contradictions_on_06() {
        assert!(after(Version::Lite06, &[7]).reply(END_7).is_err());
        let mut progress = after(Version::Lite06, &[6]);
        progress.reply(END_7).unwrap();
        assert!(progress.group(7).is_err());
    }

    #[test]
    fn an_inclusive_end_is_tolerated_on_05() {
        let mut progress = after(Version::Lite05, &[6]);
        assert_eq!(progress.reply(END_7), Ok(None));
        progress.group(7).unwrap();
        assert_eq!(after(Version::Lite05, &[7]).reply(END_7), Ok(None));
    }

    #[test]
    fn before_05_the_end_of_the_replies_is_the_end() {
        let mut progress = after(Version::Lite04, &[1]);
        progress.reply(SubscribeReply::Ok(Default::default())).unwrap();
        assert!(progress.may_finish() && !progress.is_complete());
    }
}
