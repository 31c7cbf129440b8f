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
use super::choice::Choice;
use super::clock::Clock;
use crate::engine::{Peer, Report, Sending, ntp};
use crate::sdp::Payload;
use crate::sessions::Live;
use crate::transcode::Job;

/// What may lie between the model and the exporter. It is sent in the same turn in which it was taken.
const BOUNDS: Bounds = Bounds { frames: 64, bytes: 1 << 20 };
/// How much faster than live the time before the live edge passes.
const HURRY: u64 = 64;
/// What lies at least between two frames of different tracks: a tick of the coarsest clock.
const STEP_MIN: Duration = Duration::from_millis(1);

/// One stream of packets to a player, and the track that it is made of.
pub(super) struct Lane {
    payload: Payload,
    ssrc: u32,
    exporter: Exporter,
    source: Source,
    /// When the newest frame is shown that was sent.
    newest: Timestamp,
    /// What was sent by an earlier source ends here.
    floor: Timestamp,
    packets: u32,
    bytes: u32,
}

/// A track, and how it is read.
#[derive(Default)]
struct Source {
    track: String,
    reader: Option<Reader>,
    /// The newest frame when the player began; what is older is shown in a hurry.
    edge: Timestamp,
    gone: bool,
    /// The AudioSpecificConfig of AAC that is made Opus.
    aac: Option<Bytes>,
    /// Keeps that going.
    job: Option<Arc<Job>>,
}

impl Source {
    fn of(choice: &Choice) -> Self {
        Self { track: choice.track.clone(), aac: choice.aac.clone(), ..Self::default() }
    }
}

impl Lane {
    /// A lane for a track. `None` when RTP has no form for it.
    pub(super) fn new(catalog: &Catalog, choice: &Choice) -> Option<Self> {
        let config = export_config();
        let ssrc = config.ssrc;
        let exporter = match &choice.aac {
            Some(_) => Exporter::with_codec(Codec::Opus, config),
            None => Exporter::new(catalog, &choice.track, config)?,
        };
        Some(Self {
            payload: choice.payload.clone(),
            ssrc,
            exporter,
            source: Source::of(choice),
            newest: Timestamp::ZERO,
            floor: Timestamp::ZERO,
            packets: 0,
            bytes: 0,
        })
    }

    /// Nothing is read any more.
    pub(super) fn rest(&mut self) {
        self.source = Source { gone: true, ..Source::default() };
    }

    /// Goes on with another track in the same stream of packets, after [`Lane::begin`]. Whether that is possible.
    pub(super) fn switch(&mut self, catalog: &Catalog, choice: &Choice) -> bool {
        match &choice.aac {
            Some(_) => self.exporter.restart(),
            None if self.exporter.switch(catalog, &choice.track) => {}
            None => return false,
        }
        self.floor = self.newest.checked_add(STEP_MIN).unwrap_or(self.newest);
        self.source = Source::of(choice);
        true
    }

    pub(super) fn track(&self) -> &str {
        &self.source.track
    }

    pub(super) fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The newest frame when the player began with the track.
    pub(super) fn edge(&self) -> Timestamp {
        self.source.edge
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    pub(super) fn sending(&self) -> Sending {
        Sending { payload: self.payload.clone(), ssrc: self.ssrc }
    }

    /// Subscribes at the live end. Nothing is to be done for a lane that rests.
    pub(super) async fn begin(&mut self, live: &Live, broadcast: &BroadcastConsumer) -> Result<(), String> {
        if self.source.gone {
            return Ok(());
        }
        let track = self.subscribe(live, broadcast).await.inspect_err(|_| self.source.gone = true)?;
        self.source.edge = track.newest_timestamp().unwrap_or_default();
        let video = self.payload.format.codec().is_video();
        let name = self.source.track.clone();
        let reader = Reader::new(name, video, 0, Timestamp::ZERO, BOUNDS, Instant::now, track);
        self.source.reader = Some(reader);
        Ok(())
    }

    async fn subscribe(
        &mut self,
        live: &Live,
        broadcast: &BroadcastConsumer,
    ) -> Result<TrackConsumer, String> {
        let Source { track, aac, job, .. } = &mut self.source;
        if let Some(aac) = aac {
            let (shared, path, epoch) = (&live.shared, broadcast.info().path(), broadcast.info().epoch());
            let making = shared.transcodes.get(shared, path, epoch, track, aac).await?;
            live.link.transcoded.store(1, Relaxed);
            let made = broadcast.subscribe_derived(&making.track, Subscription::default());
            *job = Some(making);
            return Ok(made);
        }
        let track = broadcast.subscribe(track, Subscription::default());
        let track = tokio::time::timeout(SUBSCRIBE_LIMIT, track).await.unwrap_or(Err(TrackError::Unroutable));
        track.map_err(|error| error.to_string())
    }

    /// Takes frames out of the model. Whether there are more than before, or the end was found.
    pub(super) fn fill(&mut self, cx: &mut Context<'_>) -> bool {
        self.source.reader.as_mut().is_some_and(|reader| !reader.is_over() && reader.fill(i64::MAX, cx))
    }

    /// Goes on with a newer group when the player is further behind than `max`. By how much it was.
    pub(super) fn skip(&mut self, max: Duration) -> Option<Duration> {
        let reader = self.source.reader.as_mut()?;
        let behind = Duration::from_micros(reader.backlog().max(0).unsigned_abs());
        if behind <= max || !reader.is_behind() {
            return None;
        }
        reader.skip_to_newest(&mut Context::from_waker(Waker::noop()))?;
        Some(behind)
    }

    /// Sends what was taken. `edge` is the newest time of the broadcast when the player began with it. Whether that was
    /// anything.
    pub(super) fn send(&mut self, peer: &Peer, clock: &mut Clock, edge: Timestamp) -> bool {
        let Some(reader) = &mut self.source.reader else { return false };
        let mut sent = false;
        while let Some(frame) = reader.pop() {
            let time = clock.place(hurried(frame.pts, self.source.edge), edge, SystemTime::now());
            let time = time.max(self.floor);
            self.newest = self.newest.max(time);
            self.exporter.push(time, frame.keyframe, &frame.payload);
            if reordered(&self.exporter) {
                return sent;
            }
            while let Some(packet) = self.exporter.poll() {
                self.packets = self.packets.wrapping_add(1);
                self.bytes = self.bytes.wrapping_add(packet.payload.len() as u32);
                peer.send(packet, self.payload.number);
                sent = true;
            }
        }
        sent
    }

    /// There is a new catalog. A track that is something else now ends here.
    pub(super) fn update(&mut self, catalog: &Catalog) {
        let same = match &self.source.aac {
            Some(aac) => {
                let audio = catalog.audio.renditions.get(&self.source.track);
                audio.is_some_and(|audio| audio.description.as_ref() == Some(aac))
            }
            None => self.exporter.update(catalog),
        };
        if !same {
            self.rest();
        }
    }

    /// The player lost what it needs to go on.
    pub(super) fn request_keyframe(&self) {
        if let Some(reader) = &self.source.reader {
            reader.request_keyframe();
        }
    }

    /// What this lane's clock shows at `now`.
    pub(super) fn report(&self, clock: &Clock, now: SystemTime) -> Option<Report> {
        let time = clock.at(now)?;
        (self.packets > 0).then(|| Report {
            ssrc: self.ssrc,
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
        self.source.gone || self.source.reader.as_ref().is_some_and(Reader::is_over)
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
