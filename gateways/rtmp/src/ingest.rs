//! Tags of one publisher to frames of one broadcast, and what the log hears of damage.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Instant, SystemTime};

use moqgate_core::{BroadcastProducer, Path};
use moqgate_mux::catalog::wall_ms;
use moqgate_mux::event::Event;
use moqgate_mux::flv::{Importer, Tag};
use moqgate_mux::publisher::{PublishError, Publisher, PublisherConfig};
use moqgate_mux::{Damage, Told};
use tracing::warn;

use crate::stats::Link;

/// A publisher's broadcast.
pub(crate) struct Ingest {
    importer: Importer,
    publisher: Publisher,
    path: Path,
    damage: Damage,
    link: Arc<Link>,
}

impl Ingest {
    pub(crate) fn new(broadcast: BroadcastProducer, link: Arc<Link>) -> Self {
        let path = broadcast.info().path().clone();
        Self {
            importer: Importer::new(),
            publisher: Publisher::new(broadcast, PublisherConfig::default()),
            path,
            damage: Damage::default(),
            link,
        }
    }

    /// Publishes what is in `tag`, which arrived at `now`.
    ///
    /// # Errors
    /// The broadcast is not ours any more.
    pub(crate) fn push(&mut self, tag: Tag, now: Instant) -> Result<(), PublishError> {
        self.link.tags.fetch_add(1, Relaxed);
        self.importer.push(tag);
        self.handle_timeout(now)
    }

    /// When [`Ingest::handle_timeout`] has something to do.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.importer.poll_timeout()
    }

    /// Goes on without what was announced and did not come.
    ///
    /// # Errors
    /// The broadcast is not ours any more.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), PublishError> {
        self.importer.handle_timeout(now);
        self.drain(now)
    }

    /// Gives out the rest and ends every track and the broadcast.
    pub(crate) fn finish(mut self, now: Instant) {
        self.importer.finish();
        // Somebody else's broadcast takes nothing of the rest, and needs no end from here.
        self.drain(now).ok();
        tell(&self.path, self.damage.rest());
        self.publisher.finish();
    }

    fn drain(&mut self, now: Instant) -> Result<(), PublishError> {
        while let Some(event) = self.importer.poll() {
            if let Event::Problem(problem) = &event {
                self.damage.note(problem.reason);
                self.link.problems.fetch_add(1, Relaxed);
            }
            self.publisher.apply(event, now, wall_ms(SystemTime::now()))?;
        }
        self.link.frames_dropped.store(self.publisher.stats().frames_dropped, Relaxed);
        tell(&self.path, self.damage.poll(now));
        Ok(())
    }
}

fn tell(path: &Path, told: Option<Told>) {
    if let Some(Told { new, total, last }) = told {
        warn!(%path, new, total, last, "damage in the FLV stream");
    }
}
