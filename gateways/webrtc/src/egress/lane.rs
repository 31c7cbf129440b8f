//! One track on its way to a player.

use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime};

use moqgate_core::{BroadcastConsumer, Subscription, Timestamp, TrackError};
use moqgate_mux::catalog::Catalog;
use moqgate_mux::play::{Bounds, Reader};
use moqgate_mux::rtp::{ExportConfig, Exporter};

use super::SUBSCRIBE_LIMIT;
use super::clock::Clock;
use crate::engine::{Peer, Report, Sending, ntp};
use crate::sdp::Payload;

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
    packets: u32,
    bytes: u32,
}

impl Lane {
    /// A lane for `track`. `None` when RTP has no form for it.
    pub(super) fn new(catalog: &Catalog, track: &str, payload: Payload) -> Option<Self> {
        let config = ExportConfig {
            ssrc: rand::random(),
            sequence: rand::random::<u16>() >> 1,
            timestamp: rand::random(),
            ..ExportConfig::default()
        };
        let exporter = Exporter::new(catalog, track, config.clone())?;
        Some(Self {
            track: track.to_owned(),
            payload,
            config,
            exporter,
            reader: None,
            edge: Timestamp::ZERO,
            gone: false,
            packets: 0,
            bytes: 0,
        })
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
    pub(super) async fn begin(&mut self, broadcast: &BroadcastConsumer) -> Result<(), TrackError> {
        let track = broadcast.subscribe(&self.track, Subscription::default());
        let track = tokio::time::timeout(SUBSCRIBE_LIMIT, track).await.unwrap_or(Err(TrackError::Unroutable));
        let track = track.inspect_err(|_| self.gone = true)?;
        self.edge = track.newest_timestamp().unwrap_or_default();
        let video = self.payload.format.codec().is_video();
        self.reader =
            Some(Reader::new(self.track.clone(), video, 0, Timestamp::ZERO, BOUNDS, Instant::now, track));
        Ok(())
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

    /// Nothing more will be sent.
    pub(super) fn is_over(&self) -> bool {
        self.gone || self.reader.as_ref().is_some_and(Reader::is_over)
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
