//! One track on its way to a player.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use moqgate_core::{BroadcastConsumer, Subscription, Timestamp, TrackConsumer, TrackError};
use moqgate_mux::catalog::Catalog;
use moqgate_mux::play::{Bounds, Reader};
use moqgate_mux::rtp::{Codec, ExportConfig, Exporter, Reordering};

use super::SUBSCRIBE_LIMIT;
use super::clock::Clock;
use crate::engine::{Peer, Report, Sending, ntp};
use crate::sdp::Payload;
use crate::sessions::Live;
use crate::transcode::Job;

/// What may lie between the model and the exporter. It is sent in the same turn in which it was taken.
const BOUNDS: Bounds = Bounds { frames: 64, bytes: 1 << 20 };
/// How much faster than live the time before the live edge passes.
const HURRY: u64 = 64;

/// A track, its exporter and the source that its packets have.
pub(super) struct Lane {
    track: String,
    payload: Payload,
    config: ExportConfig,
    exporter: Exporter,
    reader: Option<Reader>,
    /// The newest frame when the player began; what is older is shown in a hurry.
    edge: Timestamp,
    gone: bool,
    /// The AudioSpecificConfig of AAC that is made Opus.
    aac: Option<Bytes>,
    /// Keeps that going.
    job: Option<Arc<Job>>,
    packets: u32,
    bytes: u32,
}

impl Lane {
    /// A lane for `track`. `None` when RTP has no form for it.
    pub(super) fn new(catalog: &Catalog, track: &str, payload: Payload) -> Option<Self> {
        let config = export_config();
        let exporter = Exporter::new(catalog, track, config.clone())?;
        Some(Self::with(track, payload, config, exporter))
    }

    /// A lane for an AAC track with this AudioSpecificConfig, which is sent as Opus.
    pub(super) fn transcoded(track: &str, aac: Bytes, payload: Payload) -> Self {
        let config = export_config();
        let exporter = Exporter::with_codec(Codec::Opus, config.clone());
        Self { aac: Some(aac), ..Self::with(track, payload, config, exporter) }
    }

    fn with(track: &str, payload: Payload, config: ExportConfig, exporter: Exporter) -> Self {
        Self {
            track: track.to_owned(),
            payload,
            config,
            exporter,
            reader: None,
            edge: Timestamp::ZERO,
            gone: false,
            aac: None,
            job: None,
            packets: 0,
            bytes: 0,
        }
    }

    pub(super) fn track(&self) -> &str {
        &self.track
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.config.ssrc
    }

    pub(super) fn sending(&self) -> Sending {
        Sending { payload: self.payload.clone(), ssrc: self.config.ssrc }
    }

    /// Subscribes at the live end.
    pub(super) async fn begin(&mut self, live: &Live, broadcast: &BroadcastConsumer) -> Result<(), String> {
        let track = match &self.aac {
            Some(aac) => {
                let (shared, path, epoch) = (&live.shared, broadcast.info().path(), broadcast.info().epoch());
                let job = shared.transcodes.get(shared, path, epoch, &self.track, aac).await;
                let job = job.inspect_err(|_| self.gone = true)?;
                live.link.transcoded.store(1, Relaxed);
                let track = broadcast.subscribe_derived(&job.track, Subscription::default());
                self.job = Some(job);
                track
            }
            None => self.subscribe(broadcast).await?,
        };
        self.edge = track.newest_timestamp().unwrap_or_default();
        let video = self.payload.format.codec().is_video();
        let name = self.track.clone();
        self.reader = Some(Reader::new(name, video, 0, Timestamp::ZERO, BOUNDS, Instant::now, track));
        Ok(())
    }

    async fn subscribe(&mut self, broadcast: &BroadcastConsumer) -> Result<TrackConsumer, String> {
        let track = broadcast.subscribe(&self.track, Subscription::default());
        let track = tokio::time::timeout(SUBSCRIBE_LIMIT, track).await.unwrap_or(Err(TrackError::Unroutable));
        track.inspect_err(|_| self.gone = true).map_err(|error| error.to_string())
    }

    /// Takes frames out of the model. Whether there are more than before, or the end was found.
    pub(super) fn fill(&mut self, cx: &mut Context<'_>) -> bool {
        self.reader.as_mut().is_some_and(|reader| !reader.is_over() && reader.fill(i64::MAX, cx))
    }

    /// Goes on with a newer group when the player is further behind than `max`. By how much it was.
    pub(super) fn skip(&mut self, max: Duration) -> Option<Duration> {
        let reader = self.reader.as_mut()?;
        let behind = Duration::from_micros(reader.backlog().max(0).unsigned_abs());
        if behind <= max || !reader.is_behind() {
            return None;
        }
        reader.skip_to_newest(&mut Context::from_waker(Waker::noop()))?;
        Some(behind)
    }

    /// Sends what was taken. Whether that was anything.
    pub(super) fn send(&mut self, peer: &Peer, clock: &mut Clock) -> bool {
        let Some(reader) = &mut self.reader else { return false };
        let mut sent = false;
        while let Some(frame) = reader.pop() {
            let time = hurried(frame.pts, self.edge);
            clock.saw(time, SystemTime::now());
            self.exporter.push(time, frame.keyframe, &frame.payload);
            if reordered(&self.exporter) {
                return sent;
            }
            while let Some(packet) = self.exporter.poll() {
                self.packets = self.packets.wrapping_add(1);
                self.bytes = self.bytes.wrapping_add(packet.payload.len() as u32);
                self.config.sequence = packet.sequence.wrapping_add(1);
                peer.send(packet, self.payload.number);
                sent = true;
            }
        }
        sent
    }

    /// There is a new catalog. A track that is something else now ends here: what was negotiated does not fit it.
    pub(super) fn update(&mut self, catalog: &Catalog) {
        if let Some(aac) = &self.aac {
            let same = catalog
                .audio
                .renditions
                .get(&self.track)
                .is_some_and(|audio| audio.description.as_ref() == Some(aac));
            if !same {
                (self.reader, self.job, self.gone) = (None, None, true);
            }
            return;
        }
        if self.exporter.update(catalog) {
            return;
        }
        match Exporter::new(catalog, &self.track, self.config.clone()) {
            Some(exporter) if exporter.codec() == self.exporter.codec() => self.exporter = exporter,
            _ => {
                self.reader = None;
                self.gone = true;
            }
        }
    }

    /// The player lost what it needs to go on.
    pub(super) fn request_keyframe(&self) {
        if let Some(reader) = &self.reader {
            reader.request_keyframe();
        }
    }

    /// What this lane's clock shows at `now`.
    pub(super) fn report(&self, clock: &Clock, now: SystemTime) -> Option<Report> {
        let time = clock.at(now)?;
        (self.packets > 0).then(|| Report {
            ssrc: self.config.ssrc,
            ntp: ntp(now),
            rtp: self.exporter.timestamp_of(time),
            packets: self.packets,
            bytes: self.bytes,
        })
    }

    /// Pictures come in another order than they are shown in.
    pub(super) fn is_reordered(&self) -> bool {
        reordered(&self.exporter)
    }

    /// Nothing more will be sent.
    pub(super) fn is_over(&self) -> bool {
        self.gone || self.reader.as_ref().is_some_and(Reader::is_over)
    }
}

fn reordered(exporter: &Exporter) -> bool {
    exporter.reordering() == Reordering::Observed
}

/// A source that nobody can guess (RFC 3550 section 5.1, RFC 3711 section 3.3.1).
fn export_config() -> ExportConfig {
    ExportConfig {
        ssrc: rand::random(),
        sequence: rand::random::<u16>() >> 1,
        timestamp: rand::random(),
        ..ExportConfig::default()
    }
}

/// The time at which a frame is shown: its own, or just before the live edge.
fn hurried(time: Timestamp, edge: Timestamp) -> Timestamp {
    let behind = edge.as_micros().saturating_sub(time.as_micros());
    Timestamp::from_micros(edge.as_micros().max(time.as_micros()) - behind / HURRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_before_the_live_edge_passes_in_a_hurry() {
        let at =
            |micros| hurried(Timestamp::from_micros(micros), Timestamp::from_micros(2_000_000)).as_micros();
        assert_eq!(
            (at(0), at(1_360_000), at(2_000_000), at(2_040_000)),
            (1_968_750, 1_990_000, 2_000_000, 2_040_000)
        );
    }
}
