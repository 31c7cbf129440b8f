//! What is written down of a session's usage.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Instant,
};

use super::{Side, Totals};
use crate::{KillReason, Path, Protocol};

/// Why a session, or its interest in a broadcast, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// The broadcast ended or was let go of, while the session went on.
    Finished,
    /// The peer left, as its protocol has it.
    Left,
    /// The peer fell silent.
    Lost,
    /// The peer broke its protocol, or its media could not be carried.
    Failed,
    /// This process is stopping.
    Stopped,
    /// It was ended from here.
    Killed(KillReason),
    /// So many ended while nothing could be written that several were put together.
    Folded,
}

impl EndReason {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let own = [Self::Finished, Self::Left, Self::Lost, Self::Failed, Self::Stopped, Self::Folded];
        own.into_iter().chain(KillReason::ALL.map(Self::Killed))
    }

    /// One word for the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Left => "left",
            Self::Lost => "lost",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Killed(reason) => reason.as_str(),
            Self::Folded => "folded",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a session ended, once that is known; the first reason counts.
pub(crate) type EndCell = Arc<OnceLock<EndReason>>;

/// Who used something: one session, for one broadcast in one direction.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Unique for the life of the process, below 2^63.
    pub number: u64,
    /// The session; empty where several were put together.
    pub session: Arc<str>,
    /// Who pays.
    pub tenant: Arc<str>,
    /// The label that splits usage.
    pub tier: Arc<str>,
    /// How the session is connected.
    pub protocol: Protocol,
    /// The broadcast.
    pub path: Path,
    /// Which way the payload moved.
    pub side: Side,
    pub(super) end: EndCell,
}

/// What was used in some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// As [`Totals::groups`].
    pub groups: u64,
    /// As [`Totals::frames`].
    pub frames: u64,
    /// As [`Totals::bytes`].
    pub bytes: u64,
    /// As [`Totals::fetches`].
    pub fetches: u64,
    /// As [`Totals::datagrams`].
    pub datagrams: u64,
    /// How long the holder watched (egress) or had a live track (ingress), in milliseconds.
    pub active_ms: u64,
}

/// What a holder used between two moments, and whether that was the last of it.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Who.
    pub holder: Arc<Holder>,
    /// Since when.
    pub from: Instant,
    /// Until when.
    pub to: Instant,
    /// How much.
    pub amounts: Amounts,
    /// Nothing follows.
    pub is_final: bool,
}

impl Amounts {
    pub(super) fn new(totals: &Totals, active_ms: u64) -> Self {
        Self {
            groups: totals.groups,
            frames: totals.frames,
            bytes: totals.bytes,
            fetches: totals.fetches,
            datagrams: totals.datagrams,
            active_ms,
        }
    }

    /// Whether nothing was used.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn since(self, before: Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    pub(super) fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn with(self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            groups: combine(self.groups, other.groups),
            frames: combine(self.frames, other.frames),
            bytes: combine(self.bytes, other.bytes),
            fetches: combine(self.fetches, other.fetches),
            datagrams: combine(self.datagrams, other.datagrams),
            active_ms: combine(self.active_ms, other.active_ms),
        }
    }
}

impl Statement {
    /// Why nothing follows; `None` while something may.
    #[must_use]
    pub fn reason(&self) -> Option<EndReason> {
        self.is_final.then(|| self.holder.end.get().copied().unwrap_or(EndReason::Finished))
    }

    /// Adds what the same holder used at another time.
    pub(super) fn merge(&mut self, other: &Self) {
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.amounts = self.amounts.plus(other.amounts);
        self.is_final |= other.is_final;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new reason is not forgotten: this does not compile without it, and fails until it is among all.
    #[test]
    fn all_reasons_are_all() {
        let place = |reason| match reason {
            EndReason::Finished => 0,
            EndReason::Left => 1,
            EndReason::Lost => 2,
            EndReason::Failed => 3,
            EndReason::Stopped => 4,
            EndReason::Folded => 5,
            EndReason::Killed(KillReason::Operator) => 6,
            EndReason::Killed(KillReason::TakenOver) => 7,
            EndReason::Killed(KillReason::Expired) => 8,
            EndReason::Killed(KillReason::Revoked) => 9,
            EndReason::Killed(KillReason::Bitrate) => 10,
            EndReason::Killed(KillReason::Viewers) => 11,
            EndReason::Killed(KillReason::Minutes) => 12,
        };
        assert!(EndReason::all().map(place).eq(0..13));
    }
}
