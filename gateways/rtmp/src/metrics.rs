//! What the listener counts about itself. Operations, never billing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use moqgate_core::{DenyReason, Full, Refusals, Sample};

use crate::session::SessionError;

/// Counters of one listener. They only grow.
#[derive(Debug, Default)]
pub struct Metrics {
    opened: AtomicU64,
    closed: AtomicU64,
    encrypted: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) sent: AtomicU64,
    turned: [AtomicU64; Full::ALL.len()],
    refused: Refusals,
    failed: [AtomicU64; SessionError::KINDS.len()],
}

impl Metrics {
    pub(crate) fn open(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    pub(crate) fn close(&self) {
        self.closed.fetch_add(1, Relaxed);
    }

    pub(crate) fn encrypted(&self) {
        self.encrypted.fetch_add(1, Relaxed);
    }

    pub(crate) fn turn(&self, full: Full) {
        self.turned[full as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn refuse(&self, reason: DenyReason) {
        self.refused.count(reason);
    }

    /// `kind` is one of [`SessionError::KINDS`].
    pub(crate) fn fail(&self, kind: &str) {
        if let Some(index) = SessionError::KINDS.iter().position(|known| *known == kind) {
            self.failed[index].fetch_add(1, Relaxed);
        }
    }

    /// Connections that were accepted.
    pub fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// Connections that are open. Reads `closed` first, so that it is never negative.
    pub fn live(&self) -> u64 {
        let closed = self.closed.load(Relaxed);
        self.opened.load(Relaxed).saturating_sub(closed)
    }

    /// Connections closed as soon as they were there.
    pub fn turned(&self, full: Full) -> u64 {
        self.turned[full as usize].load(Relaxed)
    }

    /// Everything, for a report.
    pub fn samples(&self) -> Vec<Sample> {
        let plain = |name, help, value| Sample { name, help, label: None, value };
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        let mut samples = vec![
            plain("moqgate_rtmp_connections", "Open RTMP connections.", self.live()),
            plain("moqgate_rtmp_connections_total", "RTMP connections accepted.", self.opened()),
            plain("moqgate_rtmp_tls_total", "RTMP connections with TLS.", load(&self.encrypted)),
            plain("moqgate_rtmp_bytes_total", "Bytes received, before TLS is counted.", load(&self.bytes)),
            plain("moqgate_rtmp_bytes_sent_total", "Bytes sent, before TLS is counted.", load(&self.sent)),
        ];
        samples.extend(Full::ALL.map(|full| Sample {
            name: "moqgate_rtmp_turned_away_total",
            help: "Connections closed at once, by the limit that was reached.",
            label: Some(("limit", full.as_str())),
            value: self.turned(full),
        }));
        samples.extend(self.refused.samples("moqgate_rtmp_refused_total"));
        samples.extend(SessionError::KINDS.iter().zip(&self.failed).map(|(kind, counter)| Sample {
            name: "moqgate_rtmp_failed_total",
            help: "Connections that ended with an error, by kind.",
            label: Some(("kind", kind)),
            value: load(counter),
        }));
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        let metrics = Metrics::default();
        Full::ALL.iter().for_each(|full| metrics.turn(*full));
        DenyReason::ALL.iter().for_each(|reason| metrics.refuse(*reason));
        SessionError::KINDS.iter().for_each(|kind| metrics.fail(kind));
        let samples = metrics.samples();
        let labelled: Vec<_> = samples.iter().filter(|sample| sample.label.is_some()).collect();
        assert_eq!(labelled.len(), 3 + 7 + SessionError::KINDS.len());
        assert!(labelled.iter().all(|sample| sample.value == 1), "{labelled:?}");
    }
}
