//! Which pictures may be passed on: the rules of joining a stream, of keyframes and of damage.

use std::time::Duration;

use moqgate_core::Timestamp;

use super::unit::Unit;

/// Without an IDR picture for so long, a stream is taken for one that never has any (gradual refresh), and weaker
/// joins count as keyframes. Longer than the groups of pictures that encoders are usually set to.
const STARVED_AFTER: Duration = Duration::from_secs(5);

/// What becomes of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It cannot be decoded by those who join here.
    Drop,
    /// It is passed on.
    Pass,
    /// The same, and decoding can start with it.
    Key,
}

#[derive(Debug, Default)]
pub(crate) struct Gate {
    joined: bool,
    leading: Leading,
    /// The last keyframe, or the first picture at all.
    last_key: Option<Timestamp>,
    /// The stream has no IDR pictures; holds until one comes.
    starved: bool,
    problem: Option<&'static str>,
}

/// Pictures that follow a join in decoding order, precede it on the screen and need pictures that nobody has.
#[derive(Debug, Default)]
enum Leading {
    /// There are none: the stream runs, or the group is closed.
    #[default]
    None,
    /// They are marked (RASL).
    Marked,
    /// They are shown before this time.
    Before(Timestamp),
}

impl Gate {
    /// Pictures are missing from here on: nothing is passed until the next keyframe.
    pub(crate) fn rejoin(&mut self) {
        self.joined = false;
        self.leading = Leading::None;
    }

    /// Decides about the next picture. `ready`: its parameter sets are known.
    pub(crate) fn judge(&mut self, unit: &Unit, pts: Timestamp, ready: bool) -> Verdict {
        let Some(slice) = unit.slice else { return Verdict::Drop };
        if unit.damaged {
            self.problem = Some("picture_damaged");
            // Nothing depends on a picture that is no reference.
            if slice.reference {
                self.rejoin();
            }
            return Verdict::Drop;
        }
        if self.is_key(unit, pts) {
            if ready {
                return self.key(slice.random_access, pts);
            }
            self.problem = Some("parameter_sets_missing");
        }
        if !self.joined || self.is_leading(slice.skipped, pts) { Verdict::Drop } else { Verdict::Pass }
    }

    /// What went wrong with the last picture.
    pub(crate) fn problem(&mut self) -> Option<&'static str> {
        self.problem.take()
    }

    fn key(&mut self, random_access: bool, pts: Timestamp) -> Verdict {
        self.leading = match (self.joined, random_access) {
            (true, _) => Leading::None,
            (false, true) => Leading::Marked,
            (false, false) => Leading::Before(pts),
        };
        self.joined = true;
        self.last_key = Some(pts);
        Verdict::Key
    }

    fn is_key(&mut self, unit: &Unit, pts: Timestamp) -> bool {
        let Some(slice) = unit.slice else { return false };
        let since = pts.checked_sub(*self.last_key.get_or_insert(pts)).unwrap_or_default();
        self.starved = !slice.random_access && (self.starved || since >= STARVED_AFTER);
        match unit.recovery {
            _ if slice.random_access => true,
            Some(0) => slice.intra || self.starved,
            Some(_) => self.starved,
            None => self.starved && slice.intra && unit.has_sets(),
        }
    }

    fn is_leading(&mut self, skipped: bool, pts: Timestamp) -> bool {
        match self.leading {
            Leading::None => false,
            Leading::Marked => skipped,
            Leading::Before(key) if pts < key => true,
            Leading::Before(_) => {
                self.leading = Leading::None;
                false
            }
        }
    }
}
