//! What is operated, not billed: counters of the gateway.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Reads the gateway's counters. Clones read the same ones.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Counters>);

impl Metrics {
    /// Every counter with its name in snake case; all of them only grow.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
        let counters = &*self.0;
        vec![
            ("handshakes_started", counters.handshakes_started.get()),
            ("handshakes_failed", counters.handshakes_failed.get()),
            ("connections_refused", counters.connections_refused.get()),
            ("sessions_opened", counters.sessions_opened.get()),
            ("sessions_closed", counters.sessions_closed.get()),
            ("sessions_denied", counters.sessions_denied.get()),
            ("violations", counters.violations.get()),
            ("requests", counters.requests.get()),
            ("subscription_updates", counters.subscription_updates.get()),
            ("groups_sent", counters.groups_sent.get()),
            ("groups_expired", counters.groups_expired.get()),
            ("datagrams_sent", counters.datagrams_sent.get()),
            ("datagrams_dropped", counters.datagrams_dropped.get()),
        ]
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.0
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) handshakes_started: Counter,
    /// QUIC, HTTP/3 or SETUP did not come to an end.
    pub(crate) handshakes_failed: Counter,
    /// Turned away because a limit was reached.
    pub(crate) connections_refused: Counter,
    pub(crate) sessions_opened: Counter,
    pub(crate) sessions_closed: Counter,
    pub(crate) sessions_denied: Counter,
    /// Sessions that were closed because the peer broke the protocol.
    pub(crate) violations: Counter,
    pub(crate) requests: Counter,
    /// How often peers asked for something else on a subscription.
    pub(crate) subscription_updates: Counter,
    /// Groups handed to QUIC to their end.
    pub(crate) groups_sent: Counter,
    /// Groups given up because they were blocked and too old.
    pub(crate) groups_expired: Counter,
    pub(crate) datagrams_sent: Counter,
    pub(crate) datagrams_dropped: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn bump(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
