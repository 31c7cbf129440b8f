//! What one connection looks like, for the API and the metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use moqgate_core::LinkStats;

/// Counted by the connection's task, read by reports.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) bytes_received: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) tags: AtomicU64,
    pub(crate) problems: AtomicU64,
    pub(crate) frames_dropped: AtomicU64,
}

impl LinkStats for Link {
    fn snapshot(&self) -> Vec<(&'static str, f64)> {
        let count = |counter: &AtomicU64| counter.load(Relaxed) as f64;
        vec![
            ("bytes_received", count(&self.bytes_received)),
            ("bytes_sent", count(&self.bytes_sent)),
            ("flv_tags", count(&self.tags)),
            ("flv_problems", count(&self.problems)),
            ("frames_dropped", count(&self.frames_dropped)),
        ]
    }
}
