//! The importer of one broadcast, and what the log hears of damage.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_core::{BroadcastProducer, Path};
use moqgate_mux::ts::{ImportConfig, ImportStats, Importer};
use tracing::warn;

/// How often damage in the stream is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Transport stream in, frames of a broadcast out.
pub(crate) struct Import {
    importer: Importer,
    broadcast: BroadcastProducer,
    damage: Damage,
}

impl Import {
    pub(crate) fn new(broadcast: BroadcastProducer) -> Self {
        let damage = Damage { path: broadcast.info().path().clone(), logged: None, told: 0 };
        Self { importer: Importer::new(ImportConfig::default()), broadcast, damage }
    }

    /// Takes all payloads of `batch`, in order.
    pub(crate) fn push(&mut self, batch: &mut VecDeque<Bytes>, now: Instant) {
        for payload in batch.drain(..) {
            self.importer.push(&payload);
            self.drain(now);
        }
        self.handle_timeout(now);
        self.damage.look(&self.importer.stats(), now);
    }

    /// When [`Import::handle_timeout`] has something to do.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.importer.poll_timeout()
    }

    /// Gives out what is complete because nothing followed it.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.importer.handle_timeout(now);
        self.drain(now);
    }

    /// Gives out the rest and ends every track and the broadcast.
    pub(crate) fn finish(mut self, now: Instant) {
        self.importer.finish();
        self.drain(now);
        drop(self.broadcast);
    }

    fn drain(&mut self, _now: Instant) {
        while self.importer.poll().is_some() {}
    }
}

/// Logs damage at most once a second, and only when there is more of it than the last time.
struct Damage {
    path: Path,
    logged: Option<Instant>,
    told: u64,
}

impl Damage {
    fn look(&mut self, stats: &ImportStats, now: Instant) {
        let total = stats.resyncs
            + stats.malformed_packets
            + stats.transport_errors
            + stats.continuity_errors
            + stats.bad_sections
            + stats.damaged_pes
            + stats.misplaced_units;
        let recent = self.logged.is_some_and(|at| now.saturating_duration_since(at) < LOG_INTERVAL);
        if total == self.told || recent {
            return;
        }
        warn!(
            path = %self.path,
            new = total - self.told,
            total,
            last = stats.last_problem.unwrap_or("unknown"),
            "damage in the transport stream"
        );
        self.told = total;
        self.logged = Some(now);
    }
}
