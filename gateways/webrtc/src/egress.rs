//! One player: frames of a broadcast to packets for its peer.
//!
//! ```text
//! GroupConsumer::forward -> Reader (one per track) -> rtp::Exporter -> Peer
//! ```
//!
//! When the publisher leaves, the player waits for the next one of that path, whose media goes on in the same streams.
//!
//! Pictures leave at a pace that the player's link was seen to carry, and wait in the model where that is slower than they
//! come: then the player is sent another rendition, or the next group. What is lost is asked for again, and after that
//! mended by a keyframe. A player begins at the keyframe of the group at hand; what lies between it and the live edge is shown
//! at once, so that nobody watches behind for having joined between two keyframes.

mod adapt;
mod choice;
mod clock;
mod common;
mod ladder;
mod lane;
mod next;

use std::collections::{HashSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use axum::http::StatusCode;
use moqgate_core::{
    BroadcastConsumer, Denied, DenyReason, OriginConsumer, Path, Session, Subscription, Timestamp,
};
use moqgate_mux::catalog::{self, Catalog, CatalogReader};
use tracing::{debug, info, warn};

use crate::engine::{Inbound, Peer, Report, Sending, ntp};
use crate::error::Refusal;
use crate::link::Link;
use crate::sdp::Offer;
use crate::sessions::{End, Live, Notice};
use adapt::{Adapter, Step};
use choice::{Choice, Formats};
use clock::Clock;
pub(crate) use common::Common;
use ladder::Ladder;
use lane::{Change, Lane};

/// How long a track may take to be there: publishers of native broadcasts are asked for it first.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(5);
/// How often players are told how the clocks of sound and picture go together.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Why pictures that are decoded in another order than shown are not sent: browsers drop all but a few of them.
const B_FRAMES: &str =
    "the picture has B-frames, which browsers do not play over WebRTC: publish it without (x264: -bf 0)";
/// How often what is sent is fitted to the link: as often as feedback comes.
const ADAPT_INTERVAL: Duration = Duration::from_millis(100);
/// A rendition of which nothing comes for so long is left for a smaller one.
const SILENT: Duration = Duration::from_secs(2);
/// Media that a player may be behind before it goes on with a newer group.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// Most tracks that are kept in mind; forgotten ones are found out again.
const REORDERED_MAX: usize = 1024;

/// Tracks that were seen to have B-frames, by broadcast: encoders announce more than they do, so only what was seen counts.
#[derive(Debug, Default)]
pub(crate) struct Reordered(Mutex<HashSet<(u64, String)>>);

impl Reordered {
    fn of(&self, epoch: u64) -> Vec<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter(|(of, _)| *of == epoch).map(|(_, track)| track.clone()).collect()
    }

    fn note(&self, epoch: u64, track: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REORDERED_MAX {
            known.clear();
        }
        known.insert((epoch, track.to_owned()));
    }
}

/// Everything of a player.
pub(crate) struct Player {
    path: Path,
    broadcast: BroadcastConsumer,
    catalog: CatalogReader,
    newest: Catalog,
    lanes: Vec<Lane>,
    clock: Clock,
    /// The newest time of the broadcast when the player began with it.
    edge: Timestamp,
    adapter: Adapter,
    adapted: Option<Instant>,
    ladder: Ladder,
}

/// A broadcast, and what a player is sent of it.
struct Found {
    broadcast: BroadcastConsumer,
    catalog: CatalogReader,
    newest: Catalog,
    choices: Vec<Choice>,
}

impl Player {
    /// Waits for the broadcast, at most `wait`, and for a catalog that has something for this player.
    pub(crate) async fn open(
        session: &Session,
        path: &Path,
        offer: &Offer,
        wait: Duration,
        reordered: &Reordered,
    ) -> Result<Self, Refusal> {
        let formats = |epoch| Formats::offered(offer, reordered.of(epoch));
        let Found { broadcast, catalog, newest, choices } =
            find(&session.consumer(), path, wait, formats).await?;
        let lanes = choices.iter().filter_map(|choice| Lane::new(&newest, choice)).collect();
        let (path, clock, edge) = (path.clone(), Clock::default(), Timestamp::ZERO);
        let (adapter, ladder) = (Adapter::default(), Ladder::default());
        let mut player =
            Self { path, broadcast, catalog, newest, lanes, clock, edge, adapter, adapted: None, ladder };
        player.climb(reordered);
        Ok(player)
    }

    /// Waits until the broadcast at hand has ended, and then, at most `wait`, for the next one of that path.
    fn next<'a>(
        &self,
        consumer: OriginConsumer,
        wait: Duration,
        reordered: &'a Reordered,
    ) -> impl Future<Output = Result<Found, Refusal>> + use<'a> {
        let agreed = self.lanes.iter().map(|lane| lane.payload().clone()).collect::<Vec<_>>();
        let (broadcast, path) = (self.broadcast.clone(), self.path.clone());
        async move {
            // Until then the directory would give the same one.
            if tokio::time::timeout(wait, broadcast.closed()).await.is_err() {
                return Err(over());
            }
            drop(broadcast);
            find(&consumer, &path, wait, |epoch| Formats::agreed(agreed, reordered.of(epoch))).await
        }
    }

    /// Goes on with another broadcast in the same streams.
    async fn resume(&mut self, found: Found, live: &Live) {
        let Found { broadcast, catalog, newest, choices } = found;
        (self.broadcast, self.catalog, self.newest) = (broadcast, catalog, newest);
        for lane in &mut self.lanes {
            let number = lane.payload().number;
            lane.resume(&self.newest, choices.iter().find(|choice| choice.payload.number == number));
        }
        self.clock.restart();
        self.ladder.clear();
        self.climb(&live.shared.reordered);
        self.begin(live).await;
    }

    /// What the answer is about.
    pub(crate) fn sending(&self) -> Vec<Sending> {
        self.lanes.iter().map(Lane::sending).collect()
    }

    /// Subscribes to every track, at its live end.
    async fn begin(&mut self, live: &Live) {
        for lane in &mut self.lanes {
            if let Err(error) = lane.begin(live, &self.broadcast).await {
                warn!(path = %self.path, track = lane.track(), %error, "not played");
            }
        }
        self.edge = self.lanes.iter().map(Lane::edge).max().unwrap_or_default();
    }

    /// Ready when there is something for [`Player::advance`] to do.
    fn poll(&mut self, peer: &Peer, cx: &mut Context<'_>) -> Poll<()> {
        let mut more = self.catalog.poll(cx);
        let room = peer.poll_room(cx).is_ready();
        for lane in &mut self.lanes {
            more |= lane.fill(room, cx);
        }
        if more { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Sends what is there.
    fn advance(&mut self, live: &Live, now: Instant) {
        let (peer, link) = (&live.peer, &live.link);
        if let Some(Ok(catalog)) = self.catalog.take() {
            self.newest = catalog;
            for lane in &mut self.lanes {
                lane.update(&self.newest);
            }
            self.climb(&live.shared.reordered);
        }
        self.adapt(live, now);
        let short = self.adapter.is_congested();
        let mut sent = false;
        for lane in &mut self.lanes {
            if let Some(behind) = lane.skip(BEHIND_MAX, short, now) {
                link.skips.fetch_add(1, Relaxed);
                live.shared.metrics.skip();
                debug!(path = %self.path, behind_ms = behind.as_millis(), "WHEP player skips to a newer group");
            }
            sent |= lane.send(peer, &mut self.clock, self.edge);
        }
        if sent {
            peer.flush();
        }
    }

    /// Fits what is sent to the link.
    fn adapt(&mut self, live: &Live, now: Instant) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.is_video()) else { return };
        match lane.changed(&self.newest, now) {
            Change::Done(step) => {
                self.adapter.switched(step, now);
                lane.share(&live.shared.common, self.broadcast.info().epoch());
                live.link.switches.fetch_add(1, Relaxed);
                live.shared.metrics.switch();
                debug!(path = %self.path, track = lane.track(), ?step, "WHEP player is sent another rendition");
            }
            Change::Lost => self.adapter.lost(now),
            Change::Nothing => {}
        }
        if self.adapted.is_some_and(|at| now.saturating_duration_since(at) < ADAPT_INTERVAL) {
            return;
        }
        self.adapted = Some(now);
        let picture = lane.needs();
        if let Some(rate) = picture {
            self.ladder.measured(lane.track(), rate);
        }
        let needed: u64 = self.lanes.iter().filter_map(Lane::needs).sum();
        let estimate = live.peer.estimate();
        live.link.estimate.store(estimate.unwrap_or_default(), Relaxed);
        live.peer.set_pace(self.adapter.handle(estimate, needed, now));
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.is_video()) else { return };
        let (lower, higher) = (self.ladder.lower(lane.track()), self.ladder.higher(lane.track()));
        let rest = needed - picture.unwrap_or_default();
        let more = higher.map(|(_, rate)| rate.map(|rate| rate + rest));
        let choice = match self.adapter.step(estimate, needed, lower.is_some(), more, now) {
            // Browsers stop the largest layers where their own link is short.
            _ if lane.is_silent(SILENT, now) => lower.map(|choice| (Step::Down, choice)),
            // What was sent is not there any more.
            _ if lane.is_resting() => self.ladder.first().map(|choice| (Step::Down, choice)),
            Some(Step::Down) => lower.map(|choice| (Step::Down, choice)),
            Some(Step::Up) => higher.map(|(choice, _)| (Step::Up, choice)),
            None => None,
        };
        if let Some((step, choice)) = choice {
            lane.change(step, choice.clone(), &self.broadcast, now);
        }
    }

    /// Looks what else could be sent.
    fn climb(&mut self, reordered: &Reordered) {
        let epoch = self.broadcast.info().epoch();
        if let Some(lane) = self.lanes.iter().find(|lane| lane.is_video()) {
            let formats = Formats::agreed(vec![lane.payload().clone()], reordered.of(epoch));
            self.ladder.update(formats.pictures(&self.newest), &self.newest);
        }
    }

    fn report(&self, peer: &Peer) {
        let now = SystemTime::now();
        let reports: Vec<Report> =
            self.lanes.iter().filter_map(|lane| lane.report(&self.clock, now)).collect();
        if !reports.is_empty() {
            peer.report(&reports);
            peer.flush();
        }
    }

    fn heard(&mut self, inbound: &Inbound, link: &Link) {
        match inbound {
            Inbound::KeyframeRequest { ssrc } => {
                link.keyframes_asked.fetch_add(1, Relaxed);
                self.lanes.iter_mut().filter(|lane| lane.ssrc() == *ssrc).for_each(Lane::request_keyframe);
            }
            Inbound::ReceiverReport { fraction_lost, last_report, delay } => {
                link.fraction_lost.store(u32::from(*fraction_lost), Relaxed);
                if *last_report != 0 {
                    let now = (ntp(SystemTime::now()) >> 16) as u32;
                    // Units of 1/65536 s (RFC 3550 section 6.4.1).
                    let trip = now.wrapping_sub(*last_report).wrapping_sub(*delay);
                    let micros = (u64::from(trip) * 1_000_000) >> 16;
                    if micros < 60_000_000 {
                        link.round_trip.store(micros as u32, Relaxed);
                    }
                }
            }
            Inbound::Media { .. } | Inbound::SenderReport { .. } => {}
        }
    }

    fn is_over(&self) -> bool {
        self.catalog.is_ended() && self.lanes.iter().all(Lane::is_over)
    }
}

fn over() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "the broadcast has ended")
}

/// Waits for a broadcast, at most `wait`, and for a catalog that has something in the formats for its epoch.
async fn find(
    consumer: &OriginConsumer,
    path: &Path,
    wait: Duration,
    formats: impl FnOnce(u64) -> Formats,
) -> Result<Found, Refusal> {
    let (broadcast, mut catalog) = subscribe(consumer, path, wait).await?;
    let formats = formats(broadcast.info().epoch());
    let fitting = async {
        let mut last = None;
        loop {
            poll_fn(|cx| if catalog.poll(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
            match catalog.take() {
                Some(Ok(catalog)) => match formats.choose(&catalog) {
                    Ok(choices) => return Ok((catalog, choices)),
                    Err(refusal) => last = Some(refusal),
                },
                Some(Err(error)) => warn!(%path, %error, "a catalog that cannot be read"),
                None if catalog.is_ended() => return Err(last.unwrap_or_else(over)),
                None => {}
            }
            if let Some(refusal) = last.take_if(|refusal| refusal.status() == StatusCode::NOT_ACCEPTABLE) {
                return Err(refusal);
            }
        }
    };
    let (newest, choices) = match tokio::time::timeout(wait.max(SUBSCRIBE_LIMIT), fitting).await {
        Ok(chosen) => chosen?,
        Err(_) => return Err(Refusal::new(StatusCode::NOT_FOUND, "the broadcast has no tracks yet")),
    };
    Ok(Found { broadcast, catalog, newest, choices })
}

/// Waits for a broadcast and subscribes to its catalog.
async fn subscribe(
    consumer: &OriginConsumer,
    path: &Path,
    wait: Duration,
) -> Result<(BroadcastConsumer, CatalogReader), Refusal> {
    let denied = |reason, detail: String| Refusal::from(Denied { reason, detail });
    let broadcast = match tokio::time::timeout(wait, consumer.wait(path)).await {
        Ok(Ok(broadcast)) => broadcast,
        Ok(Err(error)) => return Err(denied(DenyReason::Forbidden, error.to_string())),
        Err(_) => return Err(denied(DenyReason::NotFound, "nobody publishes this".to_owned())),
    };
    let subscription = Subscription { priority: catalog::PRIORITY, ..Subscription::default() };
    let track = broadcast.subscribe(catalog::TRACK, subscription);
    match tokio::time::timeout(SUBSCRIBE_LIMIT, track).await {
        Ok(Ok(track)) => Ok((broadcast, CatalogReader::new(track))),
        Ok(Err(error)) => Err(denied(DenyReason::NotFound, format!("no catalog: {error}"))),
        Err(_) => Err(denied(DenyReason::Unavailable, "no catalog".to_owned())),
    }
}

/// Plays until the session or the broadcast is over.
pub(crate) async fn play(mut live: Live, mut player: Player) {
    let end = match connected(&mut live).await {
        Some(end) => end,
        None => {
            player.begin(&live).await;
            forward(&mut live, &mut player).await
        }
    };
    drop(player);
    live.close(end);
}

/// Waits until media may flow.
async fn connected(live: &mut Live) -> Option<End> {
    match live.notice().await {
        Notice::Connected => None,
        Notice::Over(end) => Some(end),
    }
}

async fn forward(live: &mut Live, player: &mut Player) -> End {
    let (peer, link) = (Arc::clone(&live.peer), Arc::clone(&live.link));
    let mut reports = tokio::time::interval(REPORT_INTERVAL);
    let mut heard = VecDeque::new();
    loop {
        {
            let more = pin!(poll_fn(|cx| player.poll(&peer, cx)));
            tokio::select! {
                biased;
                notice = live.notice() => match notice {
                    Notice::Connected => continue,
                    Notice::Over(end) => return end,
                },
                () = peer.receive(&mut heard) => {}
                () = more => {}
                _ = reports.tick() => player.report(&peer),
            }
        }
        heard.drain(..).for_each(|inbound| player.heard(&inbound, &link));
        player.advance(live, Instant::now());
        if let Some(lane) = player.lanes.iter().find(|lane| lane.is_reordered()) {
            live.shared.reordered.note(player.broadcast.info().epoch(), lane.track());
            warn!(path = %player.path, "{B_FRAMES}");
            return End::Unplayable;
        }
        if player.is_over()
            && let Err(end) = again(live, player).await
        {
            return end;
        }
    }
}

/// Waits for the publisher to come back, and goes on.
async fn again(live: &mut Live, player: &mut Player) -> Result<(), End> {
    player.lanes.iter_mut().for_each(Lane::rest);
    let (peer, shared) = (Arc::clone(&live.peer), Arc::clone(&live.shared));
    let (consumer, mut heard) = (live.session.consumer(), VecDeque::new());
    let found = {
        let mut next = pin!(player.next(consumer, shared.config.play_wait, &shared.reordered));
        loop {
            tokio::select! {
                biased;
                notice = live.notice() => match notice {
                    Notice::Connected => {}
                    Notice::Over(end) => return Err(end),
                },
                found = &mut next => break found,
                // Nothing can be done about what a player says meanwhile.
                () = peer.receive(&mut heard) => heard.clear(),
            }
        }
    };
    match found {
        Ok(found) => {
            info!(path = %player.path, session = %live.session.id(), "WHEP player goes on");
            player.resume(found, live).await;
            Ok(())
        }
        Err(refusal) if refusal.status() == StatusCode::NOT_ACCEPTABLE => {
            let detail = refusal.detail();
            warn!(path = %player.path, session = %live.session.id(), detail, "WHEP player cannot go on");
            Err(End::Unplayable)
        }
        Err(_) => Err(End::Finished),
    }
}
