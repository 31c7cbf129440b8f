//! One player: frames of a broadcast to packets for its peer.
//!
//! ```text
//! GroupConsumer::forward -> Reader (one per track) -> rtp::Exporter -> Peer
//! ```
//!
//! Frames leave as fast as they come: what the network cannot take is lost there, asked for again, and after that mended
//! by a keyframe. A player begins at the keyframe of the group at hand; what lies between it and the live edge is shown
//! at once, so that nobody watches behind for having joined between two keyframes.

mod clock;
mod lane;

use std::collections::{HashSet, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use moqgate_core::{BroadcastConsumer, Denied, DenyReason, Path, Session, Subscription};
use moqgate_mux::catalog::{self, Catalog, CatalogReader};
use moqgate_mux::rtp::{Carried, Choices, Codec, Format, Unfit, choose};
use tracing::{debug, warn};

use crate::engine::{Inbound, Peer, Report, Sending, ntp};
use crate::error::Refusal;
use crate::link::Link;
use crate::sdp::{Offer, Payload};
use crate::sessions::{End, Live, Notice};
use clock::Clock;
use lane::Lane;

/// How long a track may take to be there: publishers of native broadcasts are asked for it first.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(5);
/// How often players are told how the clocks of sound and picture go together.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Why pictures that are decoded in another order than shown are not sent: browsers drop all but a few of them.
const B_FRAMES: &str =
    "the picture has B-frames, which browsers do not play over WebRTC: publish it without (x264: -bf 0)";
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
        let (broadcast, catalog) = find(session, path, wait).await?;
        let formats = Formats::new(offer, reordered.of(broadcast.info().epoch()));
        let mut reader = catalog;
        let fitting = async {
            let mut last = None;
            loop {
                poll_fn(|cx| if reader.poll(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
                match reader.take() {
                    Some(Ok(catalog)) => match formats.choose(&catalog) {
                        Ok(lanes) => return Ok((catalog, lanes)),
                        Err(refusal) => last = Some(refusal),
                    },
                    Some(Err(error)) => warn!(%path, %error, "a catalog that cannot be read"),
                    None if reader.is_ended() => return Err(last.unwrap_or_else(over)),
                    None => {}
                }
                if let Some(refusal) = last.take_if(|refusal| refusal.status() == StatusCode::NOT_ACCEPTABLE)
                {
                    return Err(refusal);
                }
            }
        };
        let (newest, lanes) = match tokio::time::timeout(wait.max(SUBSCRIBE_LIMIT), fitting).await {
            Ok(chosen) => chosen?,
            Err(_) => return Err(Refusal::new(StatusCode::NOT_FOUND, "the broadcast has no tracks yet")),
        };
        let path = path.clone();
        Ok(Self { path, broadcast, catalog: reader, newest, lanes, clock: Clock::default() })
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
    }

    /// Ready when there is something for [`Player::advance`] to do.
    fn poll(&mut self, peer: &Peer, cx: &mut Context<'_>) -> Poll<()> {
        let mut more = self.catalog.poll(cx);
        if peer.poll_room(cx).is_ready() {
            for lane in &mut self.lanes {
                more |= lane.fill(cx);
            }
        }
        if more { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Sends what is there.
    fn advance(&mut self, peer: &Peer, link: &Link) {
        if let Some(Ok(catalog)) = self.catalog.take() {
            self.newest = catalog;
            for lane in &mut self.lanes {
                lane.update(&self.newest);
            }
        }
        let mut sent = false;
        for lane in &mut self.lanes {
            if let Some(behind) = lane.skip(BEHIND_MAX) {
                link.skips.fetch_add(1, Relaxed);
                debug!(path = %self.path, behind_ms = behind.as_millis(), "WHEP player skips to a newer group");
            }
            sent |= lane.send(peer, &mut self.clock);
        }
        if sent {
            peer.flush();
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

    fn heard(&self, inbound: &Inbound, link: &Link) {
        match inbound {
            Inbound::KeyframeRequest { ssrc } => {
                link.keyframes_asked.fetch_add(1, Relaxed);
                self.lanes.iter().filter(|lane| lane.ssrc() == *ssrc).for_each(Lane::request_keyframe);
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

/// Waits for a broadcast and subscribes to its catalog.
async fn find(
    session: &Session,
    path: &Path,
    wait: Duration,
) -> Result<(BroadcastConsumer, CatalogReader), Refusal> {
    let denied = |reason, detail: String| Refusal::from(Denied { reason, detail });
    let broadcast = match tokio::time::timeout(wait, session.consumer().wait(path)).await {
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

/// What a player can receive.
struct Formats {
    payloads: Vec<Payload>,
    formats: Vec<Format>,
    video: bool,
    audio: bool,
    /// Tracks that were seen to have B-frames.
    reordered: Vec<String>,
}

impl Formats {
    fn new(offer: &Offer, reordered: Vec<String>) -> Self {
        let sections = || offer.sections().iter().filter(|s| s.is_media() && s.direction.receives());
        let payloads: Vec<Payload> = sections().flat_map(|section| section.payloads.clone()).collect();
        let formats = payloads.iter().map(|payload| payload.format.clone()).collect();
        let has = |video| payloads.iter().any(|payload: &Payload| payload.format.codec().is_video() == video);
        Self { video: has(true), audio: has(false), formats, reordered, payloads }
    }

    /// The best picture and the first sound of a broadcast.
    fn choose(&self, catalog: &Catalog) -> Result<Vec<Lane>, Refusal> {
        let choices = choose(catalog, &self.formats);
        let lane = |carried: &Carried| {
            Lane::new(catalog, &carried.track, self.payloads.get(carried.format)?.clone())
        };
        let mut videos = choices.video.iter().filter(|_| self.video);
        let video = videos.find(|carried| !self.is_reordered(&carried.track)).and_then(lane);
        let video = video.or_else(|| self.beyond(catalog, &choices));
        if video.is_none()
            && self.video
            && catalog.video.renditions.keys().any(|track| self.is_reordered(track))
        {
            return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, B_FRAMES));
        }
        let audio = choices.audio.first().filter(|_| self.audio).and_then(lane);
        let audio = audio.or_else(|| self.transcoded(catalog));
        let lanes: Vec<Lane> = [video, audio].into_iter().flatten().collect();
        if !lanes.is_empty() {
            return Ok(lanes);
        }
        match refused(&choices) {
            Some(detail) => Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, detail)),
            None => Err(Refusal::new(StatusCode::NOT_FOUND, "the broadcast has no tracks yet")),
        }
    }
}

impl Formats {
    /// A picture in H.264 of a profile that was not offered. Browsers offer what they encode, and decode High under any of
    /// it; those that cannot show nothing, which they would without it, too.
    fn beyond(&self, catalog: &Catalog, choices: &Choices) -> Option<Lane> {
        let fragments = |payload: &&Payload| {
            let format = &payload.format;
            format.codec() == Codec::H264 && format.parameter("packetization-mode") == Some("1")
        };
        let payload = self.payloads.iter().find(fragments)?;
        let is_avc = |codec: &str| codec.starts_with("avc1") || codec.starts_with("avc3");
        let mut refused = choices.refused.iter();
        let track = refused.find(|track| {
            let profile = track.reason == Unfit::ProfileNotOffered && is_avc(&track.codec);
            profile && !self.is_reordered(&track.track)
        })?;
        Lane::new(catalog, &track.track, payload.clone())
    }

    fn is_reordered(&self, track: &str) -> bool {
        self.reordered.iter().any(|known| known == track)
    }

    /// The first AAC of a broadcast, which is made Opus for those who can receive that.
    fn transcoded(&self, catalog: &Catalog) -> Option<Lane> {
        let payload = self.payloads.iter().find(|payload| payload.format.codec() == Codec::Opus)?;
        let aac = catalog.audio.renditions.iter().find(|(_, audio)| audio.codec.starts_with("mp4a.40."));
        let (track, audio) = aac?;
        Some(Lane::transcoded(track, audio.description.clone()?, payload.clone()))
    }
}

/// Why nothing can be sent.
fn refused(choices: &Choices) -> Option<String> {
    let reasons: Vec<String> =
        choices.refused.iter().map(|refused| format!("{}: {}", refused.codec, refused.reason)).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
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
    live.close(end).await;
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
        player.advance(&peer, &link);
        if let Some(lane) = player.lanes.iter().find(|lane| lane.is_reordered()) {
            live.shared.reordered.note(player.broadcast.info().epoch(), lane.track());
            warn!(path = %player.path, "{B_FRAMES}");
            return End::Unplayable;
        }
        if player.is_over() {
            return End::Finished;
        }
    }
}
