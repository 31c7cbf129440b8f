//! What a log hears of damage in what a publisher sends.

use std::time::{Duration, Instant};

/// How often damage in one stream is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// Problems of one stream, told at most once a second and only when there are more than the last time.
#[derive(Debug, Default)]
pub struct Damage {
    total: u64,
    told: u64,
    last: &'static str,
    at: Option<Instant>,
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Problems since the last time.
    pub new: u64,
    /// All of them.
    pub total: u64,
    /// The reason of the last one.
    pub last: &'static str,
}

impl Damage {
    /// One more problem.
    pub fn note(&mut self, reason: &'static str) {
        self.update(self.total + 1, reason);
    }

    /// Problems so far, where somebody else counts them, and the last one's reason.
    pub fn update(&mut self, total: u64, last: &'static str) {
        (self.total, self.last) = (total, last);
    }

    /// What there is to tell now.
    pub fn poll(&mut self, now: Instant) -> Option<Told> {
        let recent = self.at.is_some_and(|at| now.saturating_duration_since(at) < INTERVAL);
        let told = if recent { None } else { self.rest() };
        if told.is_some() {
            self.at = Some(now);
        }
        told
    }

    /// What there is to tell at the end.
    pub fn rest(&mut self) -> Option<Told> {
        let new = self.total.saturating_sub(std::mem::replace(&mut self.told, self.total));
        (new > 0).then_some(Told { new, total: self.total, last: self.last })
    }
}
