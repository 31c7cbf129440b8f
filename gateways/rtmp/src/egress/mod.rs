//! One player: frames of a broadcast to tags for its connection.
//!
//! ```text
//! GroupConsumer::forward -> Reader (one per track) -> flv::Exporter -> Session::send
//! ```
//!
//! Frames leave as fast as the connection takes them: players buffer by themselves. When it does not take them they stay
//! in the model, and who is too far behind goes on with a newer group.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use moqgate_core::{BroadcastConsumer, Denied, DenyReason, Path, Session, Subscription, monotonic_now};
use moqgate_mux::catalog::{self, Catalog, CatalogReader};
use moqgate_mux::flv::{Capabilities, Exporter, Tag};
use moqgate_mux::play::{Bounds, PlayConfig, Readers};
use tracing::{debug, warn};

use crate::proto::command;

/// How players read.
const READING: PlayConfig = PlayConfig {
    bounds: Bounds { frames: 32, bytes: 1 << 20 },
    sound_lead: Duration::from_millis(200),
    behind_max: Duration::from_secs(2),
    paced: false,
    clock: monotonic_now,
};
/// Frames are taken as soon as they are there.
const HORIZON: i64 = i64::MAX;
/// How long the catalog may take to be there: publishers of native broadcasts are asked for it first.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(5);
/// Bit of `capsEx` for several tracks.
const MULTITRACK: u8 = 2;

/// Everything of a player that plays.
pub(crate) struct Player {
    path: Path,
    broadcast: BroadcastConsumer,
    catalog: CatalogReader,
    readers: Readers,
    exporter: Exporter,
    capabilities: Capabilities,
    finished: bool,
    /// What the times of this broadcast are moved by, and the last of them, milliseconds.
    offset: u32,
    last: u32,
}

impl Player {
    /// Waits for the broadcast, at most `wait`, and for a catalog that has something for this player.
    pub(crate) async fn open(
        session: &Session,
        path: Path,
        announced: &command::Capabilities,
        wait: Duration,
    ) -> Result<Self, Denied> {
        Self::with(session, path, capabilities(announced), wait).await
    }

    /// The player of the next broadcast of that path, when all of this one was given out. Its times go on where these
    /// ended, later by as long as nobody published.
    pub(crate) async fn next(self, session: &Session, wait: Duration) -> Result<Self, Denied> {
        let Self { path, broadcast, catalog, readers, capabilities, last, .. } = self;
        drop((catalog, readers));
        let ended = (READING.clock)();
        // Until then the directory would give the same one.
        broadcast.closed().await;
        drop(broadcast);
        let next = Self::with(session, path, capabilities, wait).await?;
        let gap = (READING.clock)().saturating_duration_since(ended).as_millis();
        // Only 32 bits travel.
        let offset = last.wrapping_add(u32::try_from(gap).unwrap_or(u32::MAX));
        Ok(Self { offset, last: offset, ..next })
    }

    async fn with(
        session: &Session,
        path: Path,
        capabilities: Capabilities,
        wait: Duration,
    ) -> Result<Self, Denied> {
        let consumer = session.consumer();
        let broadcast = match tokio::time::timeout(wait, consumer.wait(&path)).await {
            Ok(Ok(broadcast)) => broadcast,
            Ok(Err(error)) => return Err(denied(DenyReason::Forbidden, error.to_string())),
            Err(_) => return Err(denied(DenyReason::NotFound, "nobody publishes this".to_owned())),
        };
        let subscription = Subscription { priority: catalog::PRIORITY, ..Subscription::default() };
        let track = broadcast.subscribe(catalog::TRACK, subscription);
        let track = match tokio::time::timeout(SUBSCRIBE_LIMIT, track).await {
            Ok(Ok(track)) => track,
            Ok(Err(error)) => return Err(denied(DenyReason::NotFound, format!("no catalog: {error}"))),
            Err(_) => return Err(denied(DenyReason::Unavailable, "no catalog".to_owned())),
        };
        let mut player = Self {
            path,
            broadcast,
            catalog: CatalogReader::new(track),
            readers: Readers::new(READING),
            exporter: Exporter::new(capabilities.clone()),
            capabilities,
            finished: false,
            offset: 0,
            last: 0,
        };
        match tokio::time::timeout(wait.max(SUBSCRIBE_LIMIT), player.begin()).await {
            Ok(true) => Ok(player),
            Ok(false) => Err(denied(DenyReason::NotFound, "the broadcast has ended".to_owned())),
            Err(_) => Err(denied(DenyReason::Unavailable, "nothing that this player knows".to_owned())),
        }
    }

    /// Waits for the first tracks. `false`: there will be none.
    async fn begin(&mut self) -> bool {
        while self.readers.is_empty() {
            match self.catalog.take().and_then(readable) {
                Some(catalog) => self.follow(catalog).await,
                None if self.catalog.is_ended() => return false,
                None => {
                    let catalog = &mut self.catalog;
                    poll_fn(|cx| if catalog.poll(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
                }
            }
        }
        true
    }

    /// Ready when there is something for [`Player::advance`] to do.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let more = self.catalog.poll(cx) | self.readers.fill(HORIZON, cx) | self.readers.first().is_some();
        if more { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Moves what is there on to [`Player::tag`].
    pub(crate) async fn advance(&mut self) {
        if let Some(catalog) = self.catalog.take().and_then(readable) {
            self.follow(catalog).await;
        }
        if let Some(behind) = self.readers.skip() {
            debug!(path = %self.path, ?behind, "RTMP player skips to a newer group");
        }
        self.readers.fill(HORIZON, &mut Context::from_waker(Waker::noop()));
        while let Some((index, _)) = self.readers.first() {
            let Some((track, frame)) = self.readers.pop(index) else { break };
            self.exporter.push(track, frame.pts, frame.keyframe, &frame.payload);
        }
        if self.is_over() {
            self.finish();
        }
    }

    /// Gives out what still waits, and the end.
    pub(crate) fn finish(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            self.exporter.finish();
        }
    }

    /// The next tag to send.
    pub(crate) fn tag(&mut self) -> Option<Tag> {
        let tag = self.exporter.poll()?;
        self.last = tag.timestamp_ms.wrapping_add(self.offset);
        Some(Tag { timestamp_ms: self.last, ..tag })
    }

    /// All of the broadcast was given out.
    pub(crate) fn is_over(&self) -> bool {
        self.catalog.is_ended() && self.readers.is_over()
    }

    /// Reads what the catalog lists and the player knows, and nothing else any more.
    async fn follow(&mut self, catalog: Catalog) {
        let (broadcast, exporter) = (&self.broadcast, &mut self.exporter);
        let following = self.readers.follow(broadcast, catalog, exporter, HORIZON, tokio::time::sleep);
        for (track, why) in following.await {
            warn!(path = %self.path, track, %why, "not played");
        }
    }
}

/// What a player said that it knows; one that said nothing is sent what Flash knew.
fn capabilities(announced: &command::Capabilities) -> Capabilities {
    let known =
        announced.fourccs.iter().fold(Capabilities::legacy(), |known, fourcc| known.with_four_cc(fourcc));
    if announced.caps_ex & MULTITRACK == 0 { known } else { known.with_multitrack() }
}

fn denied(reason: DenyReason, detail: String) -> Denied {
    Denied { reason, detail }
}

/// A catalog that cannot be read changes nothing.
fn readable(found: Result<Catalog, impl std::fmt::Display>) -> Option<Catalog> {
    found.inspect_err(|error| warn!(%error, "a catalog that cannot be read")).ok()
}
