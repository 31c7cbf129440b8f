//! One player: frames of a broadcast to payloads of its connection.
//!
//! ```text
//! GroupConsumer::forward -> Reader (one per track) -> Pace -> Exporter -> Feed -> the connection's engine
//! ```
//!
//! One task reads all tracks. Frames leave in the order of their decoding times, each when its time has come; the
//! player's own buffer is filled first, with as much as was negotiated. When the connection does not take it, frames
//! stay in the model, and whoever is too far behind goes on with a newer group.

mod order;
mod pace;
mod reader;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_core::{BroadcastConsumer, Path, Session, Start, Subscription, Timestamp};
use moqgate_mux::catalog::{self, Catalog, CatalogReader};
use moqgate_mux::ts::{ExportConfig, Exporter};
use tracing::{debug, warn};

use crate::accept::Terms;
use crate::feed::FeedWriter;
use crate::ingest::EndingGuard;
use pace::Pace;
use reader::Reader;

/// Media that a player may be behind, beyond what it was when it began, before it skips to a newer group,
/// microseconds.
const BEHIND_MAX: i64 = 1_000_000;
/// How long a track may take to be there: publishers of native broadcasts are asked for it first.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(5);
/// How long the start waits for the first frame of every track.
const START_WAIT: Duration = Duration::from_millis(500);
/// Sound is read from a little before the picture, since groups begin where they like.
const START_MARGIN: Duration = Duration::from_millis(500);
/// Bytes of a packet of a transport stream.
const TS_PACKET: usize = 188;
/// Packets in a payload, by custom.
const TS_PACKETS: usize = 7;
/// Most readers of one player: what a catalog may list, three times.
const READERS_MAX: usize = 3 * catalog::RENDITIONS_MAX;

/// What the listener or the caller settled about a player.
#[derive(Debug)]
pub(crate) struct Play {
    pub(crate) session: Session,
    pub(crate) path: Path,
    /// How long to wait for the broadcast.
    pub(crate) wait: Duration,
    /// What the peer holds back: so much may be sent ahead.
    pub(crate) lead: Duration,
    /// Bytes per payload.
    pub(crate) payload: usize,
    pub(crate) feed: FeedWriter,
}

impl Play {
    pub(crate) fn new(session: Session, path: Path, wait: Duration, terms: &Terms, feed: FeedWriter) -> Self {
        let packets = (terms.max_payload / TS_PACKET).clamp(1, TS_PACKETS);
        Self { session, path, wait, lead: terms.send_latency, payload: packets * TS_PACKET, feed }
    }
}

/// Plays until the broadcast or the connection ends.
pub(crate) async fn play(play: Play, mut ending: EndingGuard) {
    let why = tokio::select! {
        biased;
        () = play.feed.gone() => return,
        reason = play.session.killed() => {
            ending.because(reason.to_string());
            return;
        }
        why = run(&play) => why,
    };
    ending.drained(why);
}

/// Plays the broadcast of that path, and the next one of it if its publisher comes back in time.
async fn run(play: &Play) -> String {
    let consumer = play.session.consumer();
    let service = play.path.to_string();
    let mut exporter = Exporter::new(ExportConfig { service, ..ExportConfig::default() });
    let mut missing = format!("nobody published {} within {:?}", play.path, play.wait);
    loop {
        let broadcast = match tokio::time::timeout(play.wait, consumer.wait(&play.path)).await {
            Ok(Ok(broadcast)) => broadcast,
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return missing,
        };
        let subscription = Subscription { priority: catalog::PRIORITY, ..Subscription::default() };
        let catalog = broadcast.subscribe(catalog::TRACK, subscription);
        match tokio::time::timeout(SUBSCRIBE_LIMIT, catalog).await {
            Ok(Ok(track)) => {
                Player::new(play, &broadcast, CatalogReader::new(track), &mut exporter).run().await;
            }
            Ok(Err(_)) if broadcast.is_closed() => {}
            Ok(Err(error)) => return format!("no catalog: {error}"),
            Err(_) => return "no catalog".to_owned(),
        }
        // A publisher that comes back has other tracks and another clock, whatever they are called.
        exporter.catalog(&Catalog::default());
        broadcast.closed().await;
        missing = "the broadcast has ended".to_owned();
    }
}

/// Everything of a player that plays.
struct Player<'a> {
    play: &'a Play,
    broadcast: &'a BroadcastConsumer,
    catalog: CatalogReader,
    readers: Vec<Reader>,
    exporter: &'a mut Exporter,
    pace: Pace,
    /// When the first frame is sent, whatever is missing.
    start_by: Option<Instant>,
    /// What the first reader was behind when it began or skipped.
    baseline: Option<i64>,
    /// Payloads that the feed had no room for: at most one frame.
    pending: VecDeque<Bytes>,
}

impl<'a> Player<'a> {
    fn new(
        play: &'a Play,
        broadcast: &'a BroadcastConsumer,
        catalog: CatalogReader,
        exporter: &'a mut Exporter,
    ) -> Self {
        Self {
            play,
            broadcast,
            catalog,
            readers: Vec::new(),
            exporter,
            pace: Pace::new(play.lead),
            start_by: None,
            baseline: None,
            pending: VecDeque::new(),
        }
    }

    /// Until all tracks have ended.
    async fn run(mut self) {
        loop {
            if let Some(catalog) = self.catalog.take().and_then(readable) {
                self.follow(catalog).await;
            }
            let due = self.send(Instant::now());
            if self.is_over() {
                self.exporter.finish();
                self.take_packets();
                self.flush().await;
                return;
            }
            let feed = &self.play.feed;
            let blocked = !self.pending.is_empty();
            let (catalog, readers, pace) = (&mut self.catalog, &mut self.readers, &self.pace);
            tokio::select! {
                () = poll_fn(|cx| poll_media(catalog, readers, pace, cx)) => {}
                () = sleep_until(due), if !blocked => {}
                () = feed.room(), if blocked => {}
            }
        }
    }

    /// Waits until the feed has taken everything.
    async fn flush(&mut self) {
        loop {
            self.play.feed.offer(&mut self.pending);
            if self.pending.is_empty() {
                return;
            }
            self.play.feed.room().await;
        }
    }

    fn is_over(&self) -> bool {
        self.readers.iter().all(Reader::is_over) && self.catalog.is_ended() && self.pending.is_empty()
    }

    /// Reads what the catalog lists and the container can carry, and nothing else any more.
    async fn follow(&mut self, mut catalog: Catalog) {
        self.exporter.catalog(&catalog);
        let (mut names, rest): (Vec<_>, Vec<_>) = self
            .exporter
            .tracks()
            .map(str::to_owned)
            .partition(|name| catalog.video.renditions.contains_key(name.as_str()));
        // The picture first: everything else begins beside it.
        names.extend(rest);
        self.readers.retain(|reader| names.contains(&reader.name));
        for name in names.into_iter().take(READERS_MAX) {
            let known = self.readers.iter().any(|reader| reader.name == name);
            if known || self.subscribe(&name, &catalog).await {
                continue;
            }
            // The container must not wait for it.
            catalog.video.renditions.remove(&name);
            catalog.audio.renditions.remove(&name);
            catalog.mpegts.tracks.remove(&name);
        }
        self.exporter.catalog(&catalog);
    }

    /// Begins to read a track. `false`: it cannot be had.
    async fn subscribe(&mut self, name: &str, catalog: &Catalog) -> bool {
        let video = catalog.video.renditions.get(name);
        let depth = video.map_or(0.0, |video| {
            video.framerate.unwrap_or_default() * f64::from(video.jitter.unwrap_or_default()) / 1e3
        });
        let (floor, age) = if video.is_some() { (Timestamp::ZERO, None) } else { self.beside_video().await };
        let (start, max_age) = age.map_or((Start::Latest, Duration::ZERO), |age| (Start::WithinAge, age));
        let subscription = Subscription { max_age, start, ..Subscription::default() };
        let track = tokio::time::timeout(SUBSCRIBE_LIMIT, self.broadcast.subscribe(name, subscription)).await;
        match track {
            Ok(Ok(track)) => {
                let reader =
                    Reader::new(name.to_owned(), video.is_some(), depth.round() as usize, floor, track);
                self.readers.push(reader);
                self.start_by.get_or_insert_with(|| Instant::now() + START_WAIT);
                return true;
            }
            Ok(Err(error)) => debug!(path = %self.play.path, track = name, %error, "not played"),
            Err(_) => {
                warn!(path = %self.play.path, track = name, "not played: its publisher does not answer")
            }
        }
        false
    }

    /// Where a track begins that goes with the picture: at its first frame, and how long ago that was.
    async fn beside_video(&mut self) -> (Timestamp, Option<Duration>) {
        let Some(video) = self.readers.iter_mut().find(|reader| reader.video) else {
            return (Timestamp::ZERO, None);
        };
        let horizon = self.pace.horizon(Instant::now());
        let first = poll_fn(|cx| {
            let more = video.head().is_some() || video.fill(horizon, cx);
            if more { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::time::timeout(START_WAIT, first).await.ok();
        match video.head_pts() {
            Some(first) => {
                let age = Duration::from_micros(video.backlog().max(0).unsigned_abs());
                (first, Some(age + START_MARGIN))
            }
            None => (Timestamp::ZERO, None),
        }
    }

    /// Sends everything that is due; returns when there will be more.
    fn send(&mut self, now: Instant) -> Option<Instant> {
        self.skip();
        loop {
            self.play.feed.offer(&mut self.pending);
            if !self.pending.is_empty() {
                return None;
            }
            let due = self.next_due(now);
            let (index, decode) = match due {
                Ok(due) => due,
                Err(later) => return later,
            };
            let frame = self.readers[index].pop()?;
            self.pace.sent(decode, now);
            self.begin();
            self.exporter.push(&self.readers[index].name, frame.pts, frame.keyframe, &frame.payload);
            self.take_packets();
            // What was freed lets more be taken, without which the next one is unknown.
            let horizon = self.pace.horizon(now);
            self.readers[index].fill(horizon, &mut Context::from_waker(std::task::Waker::noop()));
        }
    }

    /// The reader whose frame is due, or when one will be.
    fn next_due(&mut self, now: Instant) -> Result<(usize, i64), Option<Instant>> {
        if !self.pace.is_running() {
            let waiting = self.readers.iter().any(|reader| reader.head().is_none() && !reader.is_over());
            let deadline = self.start_by.filter(|at| waiting && *at > now);
            if deadline.is_some() {
                return Err(deadline);
            }
        }
        let heads = self.readers.iter().enumerate();
        let next = heads.filter_map(|(index, reader)| Some((reader.head()?, index))).min();
        let (decode, index) = next.ok_or(None)?;
        self.pace.next(decode, now);
        let due = self.pace.due(decode, now);
        if due <= now { Ok((index, decode)) } else { Err(Some(due)) }
    }

    /// The reader that tells how far behind the player is: the first picture's, or the first one.
    fn guide(&self) -> Option<usize> {
        let video = self.readers.iter().position(|reader| reader.video);
        video.or((!self.readers.is_empty()).then_some(0))
    }

    /// A player that has begun is behind by as much as it joined late, which is no fault of it.
    fn begin(&mut self) {
        if self.baseline.is_none() {
            self.baseline = self.guide().map(|guide| self.readers[guide].backlog());
        }
    }

    /// Goes on with a newer group when the player has fallen behind.
    fn skip(&mut self) {
        let (Some(lead), Some(baseline)) = (self.guide(), self.baseline) else { return };
        let backlog = self.readers[lead].backlog();
        if backlog <= baseline.saturating_add(BEHIND_MAX) || !self.readers[lead].is_behind() {
            return;
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let Some(first) = self.readers[lead].skip_to_newest(&mut cx) else { return };
        debug!(path = %self.play.path, behind_ms = backlog / 1000, "SRT player skips to a newer group");
        for (index, reader) in self.readers.iter_mut().enumerate() {
            if index != lead {
                reader.skip_to(first);
            }
        }
        self.pace.restart();
        self.baseline = None;
    }

    /// Payloads of the packets that the exporter has, cut where the path is narrow.
    fn take_packets(&mut self) {
        while let Some(mut packets) = self.exporter.poll() {
            while packets.len() > self.play.payload {
                self.pending.push_back(packets.split_to(self.play.payload));
            }
            self.pending.push_back(packets);
        }
    }
}

/// Ready when any reader has more than before.
fn poll_media(
    catalog: &mut CatalogReader,
    readers: &mut [Reader],
    pace: &Pace,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let horizon = pace.horizon(Instant::now());
    let mut more = catalog.poll(cx);
    for reader in readers {
        more |= !reader.is_over() && reader.fill(horizon, cx);
    }
    if more { Poll::Ready(()) } else { Poll::Pending }
}

/// A catalog that cannot be read changes nothing.
fn readable(found: Result<Catalog, impl std::fmt::Display>) -> Option<Catalog> {
    found.inspect_err(|error| warn!(%error, "a catalog that cannot be read")).ok()
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "egress_tests.rs"]
mod tests;
