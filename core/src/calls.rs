//! What a gateway counts of the peers that it calls. Operations, never billing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one caller. They only grow; clones are the same caller's.
#[derive(Debug, Clone, Default)]
pub struct CallCounters(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    attempts: AtomicU64,
    failures: AtomicU64,
    opened: AtomicU64,
    closed: AtomicU64,
}

/// A call that was taken. It is over when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct CallGuard(CallCounters);

impl CallCounters {
    /// The peer is called.
    pub fn attempt(&self) {
        self.0.attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// There is no connection, or it broke.
    pub fn fail(&self) {
        self.0.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// The peer has taken the call.
    pub fn open(&self) -> CallGuard {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        CallGuard(self.clone())
    }

    /// Calls so far.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.0.attempts.load(Ordering::Relaxed)
    }

    /// Calls that came to nothing, and connections that broke.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }

    /// Calls that go on. Reads what has closed first, so that it is never negative.
    #[must_use]
    pub fn live(&self) -> u64 {
        let closed = self.0.closed.load(Ordering::Acquire);
        self.0.opened.load(Ordering::Relaxed).saturating_sub(closed)
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.0.0.closed.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_over_with_its_guard() {
        let counters = CallCounters::default();
        counters.attempt();
        let call = counters.open();
        assert_eq!((counters.attempts(), counters.live(), counters.failures()), (1, 1, 0));
        drop(call);
        counters.fail();
        assert_eq!((counters.live(), counters.failures()), (0, 1));
    }
}
