//! The importer and the publisher of one broadcast, and what the log hears of damage.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use moqgate_core::{BroadcastProducer, Path};
use moqgate_mux::catalog::wall_ms;
use moqgate_mux::publisher::{PublishError, Publisher, PublisherConfig};
use moqgate_mux::ts::{ImportConfig, ImportStats, Importer};
use moqgate_mux::{Damage, Told};
use tracing::warn;

use crate::stats::Link;

/// How often reports see new numbers.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// Transport stream in, frames of a broadcast out.
pub(crate) struct Import {
    importer: Importer,
    publisher: Publisher,
    path: Path,
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
        Self { at: Instant::now(), wall_ms: wall_ms(SystemTime::now()) }
    }
}

impl Import {
    pub(crate) fn new(broadcast: BroadcastProducer, link: Arc<Link>) -> Self {
        let path = broadcast.info().path().clone();
        let publisher = Publisher::new(broadcast, PublisherConfig::default());
        let importer = Importer::new(ImportConfig::default());
        Self { importer, publisher, path, damage: Damage::default(), link, reported: None }
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
        update(&mut self.damage, &self.importer.stats());
        tell(&self.path, self.damage.rest());
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
        update(&mut self.damage, &stats);
        tell(&self.path, self.damage.poll(now));
        self.link.update_import(stats);
    }

    fn drain(&mut self, now: Now) -> Result<(), PublishError> {
        while let Some(event) = self.importer.poll() {
            self.publisher.apply(event, now.at, now.wall_ms)?;
        }
        Ok(())
    }
}

/// Notes everything that is wrong with a transport stream.
fn update(damage: &mut Damage, stats: &ImportStats) {
    let total = stats.resyncs
        + stats.malformed_packets
        + stats.transport_errors
        + stats.continuity_errors
        + stats.bad_sections
        + stats.damaged_pes
        + stats.misplaced_units;
    damage.update(total, stats.last_problem.unwrap_or_default());
}

fn tell(path: &Path, told: Option<Told>) {
    if let Some(Told { new, total, last }) = told {
        warn!(%path, new, total, last, "damage in the transport stream");
    }
}
