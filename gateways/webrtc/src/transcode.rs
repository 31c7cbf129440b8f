//! Sound that browsers can hear: AAC to Opus, once for each broadcast however many listen, and only while somebody does.
//!
//! The Opus track belongs to the broadcast, so that players are charged for what they are sent as for any track of it.
//! The work itself is a session of its own in the tier [`TIER`]: it is charged the AAC that it reads and the Opus that
//! it writes, apart from what customers pay.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use moqgate_core::{
    BroadcastConsumer, Credential, DerivedTrack, Direction, Frame, Grant, Identity, Path, Protocol, Request,
    Session, Subscription, Timestamp, TrackInfo, TrackProducer, monotonic_now,
};
use moqgate_mux::play::{Bounds, Reader};
use moqgate_mux::transcode::{AacToOpus, OpusConfig};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use crate::listen::Shared;

/// The tier of the work, in usage reports.
const TIER: &str = "transcode";
/// Ticks per second of the track.
const TIMESCALE: u64 = 1_000_000;
/// How long sound is of use to somebody who is behind.
const MAX_AGE: Duration = Duration::from_secs(5);
/// As other sound has it.
const PRIORITY: u8 = 80;
/// How long the source may take to be there.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(5);
/// What may wait to be decoded: a burst of a contribution feed.
const BOUNDS: Bounds = Bounds { frames: 64, bytes: 1 << 20 };

/// What is being transcoded, by broadcast and track.
#[derive(Default)]
pub(crate) struct Transcodes(Mutex<HashMap<(u64, String), Weak<Job>>>);

/// One transcode; it ends with the last who holds it.
pub(crate) struct Job {
    pub(crate) track: DerivedTrack,
    _stop: DropGuard,
}

impl Transcodes {
    /// The Opus track of `track` of the broadcast at `path`, which is begun if nobody else listens.
    pub(crate) async fn get(
        &self,
        shared: &Arc<Shared>,
        path: &Path,
        epoch: u64,
        track: &str,
        specific_config: &Bytes,
    ) -> Result<Arc<Job>, String> {
        let key = (epoch, track.to_owned());
        if let Some(job) = self.find(&key) {
            return Ok(job);
        }
        let work = Work::begin(shared, path, track, specific_config).await?;
        let stop = CancellationToken::new();
        let job = Arc::new(Job { track: work.made.clone(), _stop: stop.clone().drop_guard() });
        {
            let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            jobs.retain(|_, job| job.strong_count() > 0);
            if let Some(other) = jobs.get(&key).and_then(Weak::upgrade) {
                return Ok(other);
            }
            jobs.insert(key, Arc::downgrade(&job));
        }
        info!(%path, track, "AAC to Opus");
        shared.metrics.transcode();
        let stopping = shared.stop.clone();
        shared.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stopping.cancelled() => {}
                () = stop.cancelled() => {}
                () = work.run() => {}
            }
        });
        Ok(job)
    }

    fn find(&self, key: &(u64, String)) -> Option<Arc<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).and_then(Weak::upgrade)
    }
}

/// What a job does.
struct Work {
    source: Reader,
    transcoder: AacToOpus,
    made: DerivedTrack,
    producer: TrackProducer,
    _session: Session,
    _broadcast: BroadcastConsumer,
}

impl Work {
    async fn begin(
        shared: &Arc<Shared>,
        path: &Path,
        track: &str,
        specific_config: &Bytes,
    ) -> Result<Self, String> {
        let transcoder =
            AacToOpus::new(specific_config, OpusConfig::default()).map_err(|error| error.to_string())?;
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let request = Request {
            protocol: Protocol::Webrtc,
            direction: Direction::Both,
            path: path.clone(),
            credential: Credential::None,
            peer: SocketAddr::new(nobody, 0),
        };
        let grant = Grant { tier: TIER.into(), ..Grant::everything(Identity::Anonymous(nobody)) };
        let session = shared.gate.open(request, grant, SystemTime::now(), None);
        let broadcast = session.consumer().consume(path).ok_or("the broadcast has ended")?;
        let reading = broadcast.subscribe_to_derive(track, Subscription::default());
        let consumer = match tokio::time::timeout(SUBSCRIBE_LIMIT, reading).await {
            Ok(Ok(consumer)) => consumer,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("its publisher does not answer".to_owned()),
        };
        let info = TrackInfo {
            name: format!("{track}.opus").into(),
            timescale: TIMESCALE,
            priority: PRIORITY,
            max_age: MAX_AGE,
        };
        let (producer, made) = broadcast.derive(&session, info);
        let source =
            Reader::new(track.to_owned(), false, 0, Timestamp::ZERO, BOUNDS, monotonic_now, consumer);
        Ok(Self { source, transcoder, made, producer, _session: session, _broadcast: broadcast })
    }

    /// Works until the source ends.
    async fn run(mut self) {
        loop {
            let source = &mut self.source;
            poll_fn(|cx| if source.fill(i64::MAX, cx) { Poll::Ready(()) } else { Poll::Pending }).await;
            while let Some(frame) = self.source.pop() {
                let prefix = frame.payload.first().map_or(0, |first| 1usize << (first >> 6));
                self.transcoder.push(frame.pts, frame.payload.get(prefix..).unwrap_or_default());
                if !self.give(frame.received) {
                    return;
                }
            }
            if self.source.is_over() {
                return self.producer.finish();
            }
        }
    }

    /// Publishes what is ready, which came in at `received` as it was. Whether anybody can still read it.
    fn give(&mut self, received: Instant) -> bool {
        while let Some(made) = self.transcoder.poll() {
            let Ok(mut group) = self.producer.append_group() else { return false };
            let frame = Frame { timestamp: made.pts, received, payload: made.payload };
            if let Err(error) = group.push(frame) {
                warn!(%error, "transcoded sound is lost");
                return false;
            }
            group.finish();
        }
        true
    }
}
