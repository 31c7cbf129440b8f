//! One player: frames of a broadcast to payloads of its connection.
//!
//! ```text
//! GroupConsumer::forward -> Reader (one per track) -> Pace -> Exporter -> Feed -> the connection's engine
//! ```
//!
//! One task reads all tracks. Frames leave in the order of their decoding times, each when its time has come; the
//! player's own buffer is filled first, with as much as was negotiated. When the connection does not take it, frames
//! stay in the model, and whoever is too far behind goes on with a newer group.

mod pace;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_core::{BroadcastConsumer, Path, Session, Subscription, monotonic_now};
use moqgate_mux::catalog::{self, Catalog, CatalogReader};
use moqgate_mux::play::{Bounds, PlayConfig, Readers};
use moqgate_mux::ts::{ExportConfig, Exporter};
use tracing::{debug, warn};

use crate::accept::Terms;
use crate::feed::FeedWriter;
use crate::ingest::EndingGuard;
use pace::Pace;

/// How players read: the queue never looks further ahead than its horizon, its bounds hold where time stamps lie; half
/// a second of a contribution feed.
const READING: PlayConfig = PlayConfig {
    bounds: Bounds { frames: 512, bytes: 4 << 20 },
    sound_lead: Duration::ZERO,
    behind_max: Duration::from_secs(1),
    paced: true,
    clock: monotonic_now,
};
/// How far beyond what is due frames are taken from the model, microseconds: a timer's delay.
const AHEAD: i64 = 20_000;
/// How long the catalog may take to be there: publishers of native broadcasts are asked for it first.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(5);
/// How long the start waits for the first frame of every track.
const START_WAIT: Duration = Duration::from_millis(500);
/// Bytes of a packet of a transport stream.
const TS_PACKET: usize = 188;
/// Packets in a payload, by custom.
const TS_PACKETS: usize = 7;
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
    readers: Readers,
    exporter: &'a mut Exporter,
    pace: Pace,
    /// When the first frame is sent, whatever is missing.
    start_by: Option<Instant>,
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
            readers: Readers::new(READING),
            exporter,
            pace: Pace::new(play.lead),
            start_by: None,
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
        self.readers.is_over() && self.catalog.is_ended() && self.pending.is_empty()
    }

    /// Reads what the catalog lists and the container can carry, and nothing else any more.
    async fn follow(&mut self, catalog: Catalog) {
        let horizon = horizon(&self.pace);
        let following =
            self.readers.follow(self.broadcast, catalog, self.exporter, horizon, tokio::time::sleep);
        for (track, why) in following.await {
            warn!(path = %self.play.path, track, %why, "not played");
        }
        if !self.readers.is_empty() {
            self.start_by.get_or_insert_with(|| Instant::now() + START_WAIT);
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
            let (track, frame) = self.readers.pop(index)?;
            self.pace.sent(decode, now);
            self.exporter.push(track, frame.pts, frame.keyframe, &frame.payload);
            self.take_packets();
            // What was freed lets more be taken, without which the next one is unknown.
            self.readers.refill(index, horizon(&self.pace));
        }
    }

    /// The reader whose frame is due, or when one will be.
    fn next_due(&mut self, now: Instant) -> Result<(usize, i64), Option<Instant>> {
        if !self.pace.is_running() {
            let waiting = self.readers.is_waiting();
            let deadline = self.start_by.filter(|at| waiting && *at > now);
            if deadline.is_some() {
                return Err(deadline);
            }
        }
        let (index, decode) = self.readers.first().ok_or(None)?;
        self.pace.next(decode, now);
        let due = self.pace.due(decode, now);
        if due <= now { Ok((index, decode)) } else { Err(Some(due)) }
    }

    /// Goes on with a newer group when the player has fallen behind.
    fn skip(&mut self) {
        if let Some(behind) = self.readers.skip() {
            debug!(path = %self.play.path, ?behind, "SRT player skips to a newer group");
            self.pace.restart();
        }
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
    readers: &mut Readers,
    pace: &Pace,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let more = catalog.poll(cx) | readers.fill(horizon(pace), cx);
    if more { Poll::Ready(()) } else { Poll::Pending }
}

/// Up to where frames are taken from the model now.
fn horizon(pace: &Pace) -> i64 {
    pace.horizon(Instant::now()).saturating_add(AHEAD)
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
