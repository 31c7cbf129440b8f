//! What gateways count about themselves. Operations, never billing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::admission::DenyReason;

/// One value for a report, named as Prometheus wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// `moqgate_PROTOCOL_…`; `_total` for counters.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// At most one label, name and value.
    pub label: Option<(&'static str, &'static str)>,
    /// The value.
    pub value: u64,
}

/// Counts of refused peers, by reason.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; DenyReason::ALL.len()]);

impl Refusals {
    /// Counts one.
    pub fn count(&self, reason: DenyReason) {
        self.0[reason as usize].fetch_add(1, Relaxed);
    }

    /// A sample for each reason, as the counter `name`.
    pub fn samples(&self, name: &'static str) -> impl Iterator<Item = Sample> {
        DenyReason::ALL.iter().zip(&self.0).map(move |(reason, counter)| Sample {
            name,
            help: "Publishers and players refused, by reason.",
            label: Some(("reason", reason.as_str())),
            value: counter.load(Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        let refusals = Refusals::default();
        for (times, reason) in DenyReason::ALL.into_iter().enumerate() {
            (0..=times).for_each(|_| refusals.count(reason));
        }
        let counts: Vec<_> = refusals.samples("x").map(|sample| (sample.label, sample.value)).collect();
        let wanted: Vec<_> = DenyReason::ALL
            .iter()
            .zip(1..)
            .map(|(reason, n)| (Some(("reason", reason.as_str())), n))
            .collect();
        assert_eq!(counts, wanted);
    }
}
