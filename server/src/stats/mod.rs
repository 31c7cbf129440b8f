//! Usage as a broadcast: `.stats/node/<node>`, with the tracks and the fields of `moq-relay`, so that dashboards made for
//! that read this as well.
//!
//! `publisher.json` is what left, `subscriber.json` what came in, `sessions.json` who was here; those of a tier lie
//! below its name. What is below `.stats` is in none of them: reading the statistics does not change them.

mod board;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use moqgate_core::{
    BroadcastProducer, Credential, Direction, Frame, Gate, Grant, Identity, Path, Pattern, Protocol,
    PublishOptions, Request, Session, Timestamp, TrackInfo, TrackProducer,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use board::Board;

/// Where nodes publish what they count. A segment with a dot keeps it out of listings.
const ROOT: &str = ".stats";
/// The tier of what publishes it, so that it can be told from what is billed.
const TIER: &str = ".stats";
/// How often it is looked at; what has not changed is not said again.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a reader may be behind. Every frame is a whole reading, so the newest is all that anybody needs.
const MAX_AGE: Duration = Duration::from_secs(5);
const TIMESCALE: u64 = 1_000_000;
/// Below media: it may wait.
const PRIORITY: u8 = 1;

/// Publishes what this node counts until `stop`.
pub(crate) async fn publish(gate: Gate, node: Arc<str>, stop: CancellationToken) {
    let path = match Path::new(&format!("{ROOT}/node/{node}")) {
        Ok(path) => path,
        Err(error) => {
            warn!(%node, %error, "no statistics: the node's name cannot stand in a path");
            return stop.cancelled().await;
        }
    };
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut board = Board::default();
    let mut stand: Option<Stand> = None;
    loop {
        tokio::select! {
            biased;
            // 1. the stop
            () = stop.cancelled() => return,
            // 2. the end of the session, by an operator
            () = ended(stand.as_ref()) => {
                stand = None;
                continue;
            }
            // 3. the next look
            _ = ticks.tick() => {}
        }
        // Ended, or the path is somebody else's for now: it is tried again.
        if stand.is_none() {
            board = Board::default();
            stand = Stand::open(&gate, &path);
        }
        if let Some(stand) = &mut stand {
            board.look(&gate.origin().usage(None), Instant::now());
            stand.show(board.changed());
        }
    }
}

/// Waits until what was opened is over.
async fn ended(stand: Option<&Stand>) {
    let Some(stand) = stand else { return std::future::pending().await };
    tokio::select! {
        biased;
        _ = stand.session.killed() => {}
        () = stand.broadcast.revoked() => {}
    }
}

/// A broadcast and its tracks.
struct Stand {
    broadcast: BroadcastProducer,
    tracks: Vec<(String, TrackProducer)>,
    session: Session,
}

impl Stand {
    fn open(gate: &Gate, path: &Path) -> Option<Self> {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (direction, credential) = (Direction::Publish, Credential::None);
        let request = Request { protocol: Protocol::Moq, direction, path: path.clone(), credential, peer };
        let grant = Grant {
            publish: vec![Pattern::exact(path)],
            tier: TIER.into(),
            ..Grant::new(Identity::Credential(TIER.into()))
        };
        let session = gate.open(request, grant, SystemTime::now(), None);
        match session.publisher().publish(path, PublishOptions::default(), Instant::now()) {
            Ok(broadcast) => Some(Self { broadcast, tracks: Vec::new(), session }),
            Err(error) => {
                debug!(%path, %error, "statistics wait");
                None
            }
        }
    }

    fn show(&mut self, changed: Vec<(String, String)>) {
        for (name, text) in changed {
            let at = self.tracks.iter().position(|(known, _)| *known == name);
            let Some(at) = at.or_else(|| self.add(name)) else { continue };
            if let Some((_, track)) = self.tracks.get(at) {
                say(track, text);
            }
        }
    }

    fn add(&mut self, name: String) -> Option<usize> {
        let info = TrackInfo {
            name: name.as_str().into(),
            timescale: TIMESCALE,
            priority: PRIORITY,
            max_age: MAX_AGE,
        };
        // With too many tiers the last ones are left out.
        let track = self.broadcast.create_track(info).ok()?;
        self.tracks.push((name, track));
        Some(self.tracks.len() - 1)
    }
}

/// One group of one frame. The first group of a track is numbered by the clock, so that numbers go on after a restart.
fn say(track: &TrackProducer, text: String) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = u64::try_from(since.as_micros()).unwrap_or_default();
    let opened = track.create_group(micros).or_else(|_| track.append_group());
    if let Ok(mut group) = opened {
        let frame = Frame {
            timestamp: Timestamp::from_micros(micros),
            received: Instant::now(),
            payload: Bytes::from(text),
        };
        if group.push(frame).is_ok() {
            group.finish();
        }
    }
}
