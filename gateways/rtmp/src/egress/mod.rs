//! One player: frames of a broadcast to tags for its connection.
//!
//! ```text
//! GroupConsumer::forward -> Reader (one per track) -> flv::Exporter -> Session::send
//! ```
//!
//! Frames leave as fast as the connection takes them: players buffer by themselves. When it does not take them they stay
//! in the model, and who is too far behind goes on with a newer group.

mod reader;

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use moqgate_core::{BroadcastConsumer, Denied, DenyReason, Path, Session, Start, Subscription, Timestamp};
use moqgate_mux::catalog::{self, Catalog, CatalogReader};
use moqgate_mux::flv::{Capabilities, Exporter, Tag};
use tracing::{debug, warn};

use crate::proto::command;
use reader::Reader;

/// Media that a player may be behind before it goes on with a newer group, microseconds.
const BEHIND_MAX: u64 = 2_000_000;
/// How long a track may take to be there: publishers of native broadcasts are asked for it first.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(5);
/// How long the sound waits for the first picture, to begin beside it.
const START_WAIT: Duration = Duration::from_millis(500);
/// Sound is read from a little before the picture, since groups begin where they like.
const START_MARGIN: Duration = Duration::from_millis(500);
/// Sound begins this much before the first picture is shown, microseconds: priming and reordering put it there when a
/// broadcast begins, and none of that is lost to a player that was waiting.
const SOUND_LEAD: u64 = 200_000;
/// Most readers of one player: what a catalog may list, twice.
const READERS_MAX: usize = 2 * catalog::RENDITIONS_MAX;
/// Bit of `capsEx` for several tracks.
const MULTITRACK: u8 = 2;

/// Everything of a player that plays.
pub(crate) struct Player {
    path: Path,
    broadcast: BroadcastConsumer,
    catalog: CatalogReader,
    readers: Vec<Reader>,
    exporter: Exporter,
    finished: bool,
}

impl Player {
    /// Waits for the broadcast, at most `wait`, and for a catalog that has something for this player.
    pub(crate) async fn open(
        session: &Session,
        path: Path,
        announced: &command::Capabilities,
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
            readers: Vec::new(),
            exporter: Exporter::new(capabilities(announced)),
            finished: false,
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
            let catalog = &mut self.catalog;
            poll_fn(|cx| if catalog.poll(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
            match self.catalog.take().and_then(readable) {
                Some(catalog) => self.follow(catalog).await,
                None if self.catalog.is_ended() => return false,
                None => {}
            }
        }
        true
    }

    /// Ready when there is something for [`Player::advance`] to do.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut more = self.catalog.poll(cx);
        for reader in &mut self.readers {
            more |= reader.fill(cx);
        }
        if more { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Moves what is there on to [`Player::tag`].
    pub(crate) async fn advance(&mut self) {
        if let Some(catalog) = self.catalog.take().and_then(readable) {
            self.follow(catalog).await;
        }
        self.skip();
        for reader in &mut self.readers {
            reader.fill(&mut Context::from_waker(Waker::noop()));
            while let Some(frame) = reader.pop() {
                self.exporter.push(&reader.name, frame.pts, frame.keyframe, &frame.payload);
            }
        }
        if !self.finished && self.is_over() {
            self.finished = true;
            self.exporter.finish();
        }
    }

    /// The next tag to send.
    pub(crate) fn tag(&mut self) -> Option<Tag> {
        self.exporter.poll()
    }

    /// All of the broadcast was given out.
    pub(crate) fn is_over(&self) -> bool {
        self.catalog.is_ended() && self.readers.iter().all(Reader::is_over)
    }

    /// Reads what the catalog lists and the player knows, and nothing else any more.
    async fn follow(&mut self, mut catalog: Catalog) {
        self.exporter.catalog(&catalog);
        let is_video = |name: &String| catalog.video.renditions.contains_key(name.as_str());
        let (mut names, rest): (Vec<_>, Vec<_>) =
            self.exporter.tracks().map(str::to_owned).partition(is_video);
        // The picture first: everything else begins beside it.
        names.extend(rest);
        self.readers.retain(|reader| names.contains(&reader.name));
        for name in names.into_iter().take(READERS_MAX) {
            let known = self.readers.iter().any(|reader| reader.name == name);
            let video = catalog.video.renditions.contains_key(&name);
            if known || self.subscribe(&name, video).await {
                continue;
            }
            // The others must not wait for it.
            catalog.video.renditions.remove(&name);
            catalog.audio.renditions.remove(&name);
        }
        self.exporter.catalog(&catalog);
    }

    /// Begins to read a track. `false`: it cannot be had.
    async fn subscribe(&mut self, name: &str, video: bool) -> bool {
        let (floor, age) = if video { (Timestamp::ZERO, None) } else { self.beside_video().await };
        let (start, max_age) = age.map_or((Start::Latest, Duration::ZERO), |age| (Start::WithinAge, age));
        let subscription = Subscription { max_age, start, ..Subscription::default() };
        let track = tokio::time::timeout(SUBSCRIBE_LIMIT, self.broadcast.subscribe(name, subscription)).await;
        match track {
            Ok(Ok(track)) => {
                self.readers.push(Reader::new(name.to_owned(), video, floor, track));
                return true;
            }
            Ok(Err(error)) => debug!(path = %self.path, track = name, %error, "not played"),
            Err(_) => warn!(path = %self.path, track = name, "not played: its publisher does not answer"),
        }
        false
    }

    /// Where a track begins that goes with the picture: at its first frame, and how long ago that was.
    async fn beside_video(&mut self) -> (Timestamp, Option<Duration>) {
        let Some(video) = self.readers.iter_mut().find(|reader| reader.video) else {
            return (Timestamp::ZERO, None);
        };
        let first = poll_fn(|cx| if video.fill(cx) { Poll::Ready(()) } else { Poll::Pending });
        tokio::time::timeout(START_WAIT, first).await.ok();
        match video.head() {
            Some(first) => {
                let floor = Timestamp::from_micros(first.as_micros().saturating_sub(SOUND_LEAD));
                (floor, Some(Duration::from_micros(video.backlog()) + START_MARGIN))
            }
            None => (Timestamp::ZERO, None),
        }
    }

    /// Goes on with a newer group when the player has fallen behind.
    fn skip(&mut self) {
        let lead = self.readers.iter().position(|reader| reader.video);
        let Some(lead) = lead.or((!self.readers.is_empty()).then_some(0)) else { return };
        let backlog = self.readers[lead].backlog();
        if backlog <= BEHIND_MAX || !self.readers[lead].is_behind() {
            return;
        }
        let newest = self.readers[lead].skip_to_newest(&mut Context::from_waker(Waker::noop()));
        let Some(first) = newest else { return };
        debug!(path = %self.path, behind_ms = backlog / 1000, "RTMP player skips to a newer group");
        for (index, reader) in self.readers.iter_mut().enumerate() {
            if index != lead {
                reader.skip_to(first);
            }
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
