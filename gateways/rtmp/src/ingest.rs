//! Tags of one publisher to frames of one broadcast, and what the log hears of damage.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use moqgate_core::{BroadcastProducer, Path};
use moqgate_mux::catalog::EPOCH_UNIX_MS;
use moqgate_mux::event::Event;
use moqgate_mux::flv::{Importer, Tag};
use moqgate_mux::publisher::{PublishError, Publisher, PublisherConfig};
use tracing::warn;

use crate::stats::Link;

/// How often damage in the stream is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// A publisher's broadcast.
pub(crate) struct Ingest {
    importer: Importer,
    publisher: Publisher,
    damage: Damage,
    link: Arc<Link>,
}

impl Ingest {
    pub(crate) fn new(broadcast: BroadcastProducer, link: Arc<Link>) -> Self {
        let path = broadcast.info().path().clone();
        Self {
            importer: Importer::new(),
            publisher: Publisher::new(broadcast, PublisherConfig::default()),
            damage: Damage { path, logged: None, new: 0, total: 0, last: "" },
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
        self.damage.tell(now, true);
        self.publisher.finish();
    }

    fn drain(&mut self, now: Instant) -> Result<(), PublishError> {
        while let Some(event) = self.importer.poll() {
            if let Event::Problem(problem) = &event {
                self.damage.note(problem.reason);
                self.link.problems.fetch_add(1, Relaxed);
            }
            self.publisher.apply(event, now, wall_ms())?;
        }
        self.link.frames_dropped.store(self.publisher.stats().frames_dropped, Relaxed);
        self.damage.tell(now, false);
        Ok(())
    }
}

/// Milliseconds since 2020, which only a catalog carries.
fn wall_ms() -> u64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(unix.as_millis()).unwrap_or(u64::MAX).saturating_sub(EPOCH_UNIX_MS)
}

/// Logs damage at most once a second, and only when there is more of it than the last time.
struct Damage {
    path: Path,
    logged: Option<Instant>,
    new: u64,
    total: u64,
    last: &'static str,
}

impl Damage {
    fn note(&mut self, reason: &'static str) {
        self.new += 1;
        self.total += 1;
        self.last = reason;
    }

    fn tell(&mut self, now: Instant, at_once: bool) {
        let recent = self.logged.is_some_and(|at| now.saturating_duration_since(at) < LOG_INTERVAL);
        if self.new == 0 || recent && !at_once {
            return;
        }
        warn!(path = %self.path, new = self.new, total = self.total, last = self.last, "damage in the FLV stream");
        self.new = 0;
        self.logged = Some(now);
    }
}
