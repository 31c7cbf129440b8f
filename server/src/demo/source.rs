//! The clip as a broadcast of a directory that nobody else sees.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use moqgate_core::{
    Credential, Direction, Gate, Grant, Identity, OpenAdmission, Origin, OriginConfig, Path, Pattern,
    Protocol, PublishError, PublishOptions, Request, Session,
};
use moqgate_mux::catalog::wall_ms;
use moqgate_mux::publisher::{Publisher, PublisherConfig};
use moqgate_mux::ts::{ImportConfig, Importer};

use super::clip::Clip;

/// A directory of its own, which a clip is played into.
pub(super) struct Source {
    gate: Gate,
    path: Path,
    clip: Clip,
}

impl Source {
    /// An empty one.
    pub(super) fn new(clip: Clip, path: Path) -> Self {
        let gate = Gate::new(Origin::new(OriginConfig::default()), Arc::new(OpenAdmission));
        Self { gate, path, clip }
    }

    /// The way to the broadcast.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Plays in real time, until it is dropped.
    ///
    /// # Errors
    /// The broadcast is not ours any more, which nobody else could bring about.
    pub(super) async fn play(mut self) -> Result<(), PublishError> {
        let (start, session) = (Instant::now(), self.session());
        let broadcast = session.publisher().publish(&self.path, PublishOptions::default(), start)?;
        let mut publisher = Publisher::new(broadcast, PublisherConfig::default());
        let mut importer = Importer::new(ImportConfig::default());
        loop {
            tokio::time::sleep_until((start + self.clip.due()).into()).await;
            let now = Instant::now();
            importer.push(&self.clip.next());
            importer.handle_timeout(now);
            while let Some(event) = importer.poll() {
                if publisher.apply(event, now, wall_ms(SystemTime::now())).is_err() {
                    return Err(PublishError::Busy);
                }
            }
        }
    }

    fn session(&self) -> Session {
        let request = Request {
            protocol: Protocol::Srt,
            direction: Direction::Publish,
            path: self.path.clone(),
            credential: Credential::None,
            peer: ([127, 0, 0, 1], 0).into(),
        };
        let grant = Grant {
            publish: vec![Pattern::exact(&self.path)],
            ..Grant::new(Identity::Credential("demo".into()))
        };
        self.gate.open(request, grant, SystemTime::now(), None)
    }
}
