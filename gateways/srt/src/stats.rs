//! What one connection's link looks like, for the API and the metrics.

use std::sync::{Mutex, MutexGuard, PoisonError};

use moqgate_core::usage::EndReason;
use moqgate_core::{Ender, LinkStats, Session};
use moqgate_mux::ts::ImportStats;

use crate::engine::Stats;

/// The last known state of a link. The socket's task and the importer's write it twice a second, reports read it.
#[derive(Debug, Default)]
pub(crate) struct Link(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    stats: Stats,
    queue_dropped: u64,
    import: ImportStats,
    ender: Option<Ender>,
}

impl Link {
    /// Whose link it is.
    pub(crate) fn belongs_to(&self, session: &Session) {
        self.lock().ender = Some(session.ender());
    }

    /// Tells the session why it is about to end.
    pub(crate) fn ending(&self, reason: EndReason) {
        if let Some(ender) = &self.lock().ender {
            ender.ending(reason);
        }
    }

    /// Replaces what the connection counts. `queue_dropped` counts payloads that the importer was too slow for.
    pub(crate) fn update(&self, stats: Stats, queue_dropped: u64) {
        let mut state = self.lock();
        state.stats = stats;
        state.queue_dropped = queue_dropped;
    }

    /// Replaces what the importer counts.
    pub(crate) fn update_import(&self, import: ImportStats) {
        self.lock().import = import;
    }

    pub(crate) fn stats(&self) -> Stats {
        self.lock().stats.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkStats for Link {
    fn snapshot(&self) -> Vec<(&'static str, f64)> {
        let State { stats, queue_dropped, import, .. } = &*self.lock();
        let count = |value: u64| value as f64;
        vec![
            ("rtt_ms", stats.ms_rtt),
            ("rtt_variance_ms", stats.ms_rtt_var),
            ("latency_ms", count(stats.ms_rcv_tsbpd_delay)),
            ("buffer_ms", count(stats.ms_rcv_buf)),
            ("buffer_packets", count(stats.pkt_rcv_buf)),
            ("bandwidth_mbps", stats.mbps_bandwidth),
            ("receive_rate_mbps", stats.mbps_recv_rate),
            ("clock_drift_us", stats.us_drift as f64),
            ("packets_received", count(stats.pkt_recv)),
            ("bytes_received", count(stats.byte_recv)),
            ("packets_unique", count(stats.pkt_recv_unique)),
            ("packets_lost", count(stats.pkt_rcv_loss)),
            ("packets_retransmitted", count(stats.pkt_rcv_retrans)),
            ("packets_dropped", count(stats.pkt_rcv_drop)),
            ("packets_belated", count(stats.pkt_rcv_belated)),
            ("packets_duplicate", count(stats.pkt_rcv_duplicate)),
            ("packets_undecryptable", count(stats.pkt_rcv_undecrypt)),
            ("send_latency_ms", count(stats.ms_snd_tsbpd_delay)),
            ("send_buffer_ms", count(stats.ms_snd_buf)),
            ("send_buffer_packets", count(stats.pkt_snd_buf)),
            ("send_rate_mbps", stats.mbps_send_rate),
            ("packets_sent", count(stats.pkt_sent)),
            ("bytes_sent", count(stats.byte_sent)),
            ("packets_resent", count(stats.pkt_retrans)),
            ("packets_send_lost", count(stats.pkt_snd_loss)),
            ("packets_send_dropped", count(stats.pkt_snd_drop)),
            ("acks_sent", count(stats.pkt_sent_ack)),
            ("naks_sent", count(stats.pkt_sent_nak)),
            ("queue_dropped", count(*queue_dropped)),
            ("ts_packets", count(import.packets)),
            ("ts_continuity_errors", count(import.continuity_errors)),
            ("ts_resyncs", count(import.resyncs)),
        ]
    }
}
