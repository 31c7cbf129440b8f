//! The importer and the publisher of one broadcast, and what the log hears of damage.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use moqgate_core::{BroadcastProducer, Path};
use moqgate_mux::catalog::EPOCH_UNIX_MS;
use moqgate_mux::publisher::{PublishError, Publisher, PublisherConfig};
use moqgate_mux::ts::{ImportConfig, ImportStats, Importer};
use tracing::warn;

use crate::stats::Link;

/// How often damage in the stream is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// How often reports see new numbers.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// Transport stream in, frames of a broadcast out.
pub(crate) struct Import {
    importer: Importer,
    publisher: Publisher,
    damage: Damage,
    link: Arc<Link>,
    reported: Option<Instant>,
}

/// The two clocks: `at` stamps frames, `wall_ms` (since 2020) rides in the catalog.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    at: Instant,
    wall_ms: u64,
}

impl Now {
    pub(crate) fn read() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX).saturating_sub(EPOCH_UNIX_MS);
        Self { at: Instant::now(), wall_ms }
    }
}

impl Import {
    pub(crate) fn new(broadcast: BroadcastProducer, link: Arc<Link>) -> Self {
        let damage = Damage { path: broadcast.info().path().clone(), logged: None, told: 0 };
        let publisher = Publisher::new(broadcast, PublisherConfig::default());
        let importer = Importer::new(ImportConfig::default());
        Self { importer, publisher, damage, link, reported: None }
    }

    /// Takes all payloads of `batch`, in order.
    ///
    /// # Errors
    /// The broadcast is not ours any more.
    pub(crate) fn push(&mut self, batch: &mut VecDeque<Bytes>, now: Now) -> Result<(), PublishError> {
        for payload in batch.drain(..) {
            self.importer.push(&payload);
            self.drain(now)?;
        }
        self.report(now.at);
        self.handle_timeout(now)
    }

    /// When [`Import::handle_timeout`] has something to do.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.importer.poll_timeout()
    }

    /// Gives out what is complete because nothing followed it.
    ///
    /// # Errors
    /// The broadcast is not ours any more.
    pub(crate) fn handle_timeout(&mut self, now: Now) -> Result<(), PublishError> {
        self.importer.handle_timeout(now.at);
        self.drain(now)
    }

    /// Gives out the rest and ends every track and the broadcast.
    pub(crate) fn finish(mut self, now: Now) {
        self.importer.finish();
        self.damage.look(&self.importer.stats(), now.at);
        // Somebody else's broadcast takes nothing of the rest, and needs no end from here.
        self.drain(now).ok();
        self.publisher.finish();
    }

    fn report(&mut self, now: Instant) {
        if self.reported.is_some_and(|at| now.saturating_duration_since(at) < REPORT_INTERVAL) {
            return;
        }
        self.reported = Some(now);
        let stats = self.importer.stats();
        self.damage.look(&stats, now);
        self.link.update_import(stats);
    }

    fn drain(&mut self, now: Now) -> Result<(), PublishError> {
        while let Some(event) = self.importer.poll() {
            self.publisher.apply(event, now.at, now.wall_ms)?;
        }
        Ok(())
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
