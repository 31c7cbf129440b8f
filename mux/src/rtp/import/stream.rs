//! One source's packets to access units.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::payload::{Depacketiser, depacketiser};
use super::super::{Codec, Format, Packet};
use super::clock::Clock;
use super::queue::{Ordered, Queue, Taken};
use super::reader::Reader;
use super::{ImportConfig, StreamStats};
use crate::codec::Output;
use crate::event::TrackId;

/// The largest access unit that is assembled: four times a keyframe of 4K at what browsers and encoders send over RTP, and
/// as a publisher may have 16 streams, not more.
const UNIT_BYTES_MAX: usize = 4 << 20;

/// The largest scratch space that is kept between units.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// How often a keyframe is asked for while none comes: a request may be lost, and an encoder needs time.
const KEYFRAME_REPEAT: Duration = Duration::from_millis(500);

/// A stream of the publisher.
pub(super) struct Stream {
    pub(super) codec: Codec,
    pub(super) track: Option<TrackId>,
    pub(super) stats: StreamStats,
    /// Its number at the clock.
    pub(super) lane: usize,
    queue: Queue,
    depacketiser: Box<dyn Depacketiser>,
    reader: Reader,
    unit: Vec<u8>,
    open: Option<Open>,
    /// The next packet is known to begin a unit, because the one before it ended one.
    aligned: bool,
    /// Units are missing since the last one that was given to the reader.
    gap: bool,
    key: Key,
    problems: VecDeque<&'static str>,
}

/// The unit that is being put together.
struct Open {
    timestamp: u32,
    arrival: Instant,
    /// What is wrong with it.
    damage: Option<&'static str>,
}

/// Whether pictures wait for a keyframe.
#[derive(Debug, Default)]
struct Key {
    missing: bool,
    asked: Option<Instant>,
    /// A request that was not taken yet.
    due: bool,
}

impl Stream {
    pub(super) fn new(format: &Format, lane: usize) -> Self {
        let codec = format.codec();
        Self {
            codec,
            track: None,
            stats: StreamStats::default(),
            lane,
            queue: Queue::default(),
            depacketiser: depacketiser(codec),
            reader: Reader::new(format),
            unit: Vec::new(),
            open: None,
            aligned: true,
            gap: false,
            key: Key { missing: codec.is_video(), ..Key::default() },
            problems: VecDeque::new(),
        }
    }

    /// Takes a packet as it arrives.
    pub(super) fn push(&mut self, packet: Packet, arrival: Instant, clock: &mut Clock) {
        self.stats.packets += 1;
        self.stats.bytes += packet.payload.len() as u64;
        match self.queue.push(packet, arrival) {
            Taken::Newest | Taken::Doubtful => {}
            Taken::Reordered => self.stats.reordered += 1,
            Taken::Duplicate => self.stats.duplicates += 1,
            Taken::Late => self.stats.late += 1,
            Taken::Restarted => {
                clock.restart(self.lane);
                self.lose(arrival);
            }
        }
    }

    /// Gives the packets to the reader that are in order, or waited for too long.
    pub(super) fn advance(&mut self, now: Instant, config: &ImportConfig, end: bool, clock: &mut Clock) {
        while let Some(ordered) = self.queue.pop(now, self.wait_max(config), end) {
            self.ordered(ordered, now, clock);
        }
        if end && self.open.take().is_some() {
            self.stats.frames_dropped += 1; // Its last packet has not come.
        }
    }

    fn ordered(&mut self, ordered: Ordered, now: Instant, clock: &mut Clock) {
        let Ordered { packet, arrival, missing } = ordered;
        if missing > 0 {
            self.stats.lost += missing;
            self.lose(now);
        }
        if packet.payload.is_empty() {
            self.stats.empty += 1; // Padding for the sender's estimate of bandwidth.
            return;
        }
        if self.open.as_ref().is_some_and(|open| open.timestamp != packet.timestamp || !self.codec.is_video())
        {
            self.close(now, clock);
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                // After a loss only what surely begins a unit does.
                let damage =
                    (!self.aligned && !self.depacketiser.begins(&packet.payload)).then_some("rtp_unit_cut");
                self.open.insert(Open { timestamp: packet.timestamp, arrival, damage })
            }
        };
        if open.damage.is_none() {
            open.damage = self.depacketiser.push(&packet.payload, &mut self.unit).err();
        }
        if self.unit.len() > UNIT_BYTES_MAX {
            open.damage = open.damage.or(Some("picture_too_long"));
            self.unit = Vec::new();
        }
        if packet.marker || !self.codec.is_video() {
            self.close(now, clock);
        }
    }

    /// The open unit is complete.
    fn close(&mut self, now: Instant, clock: &mut Clock) {
        let Some(open) = self.open.take() else { return };
        let ended = self.depacketiser.end(&mut self.unit);
        // Its last packet was there, so that the next one begins a unit.
        self.aligned = true;
        let stamp = clock.stamp(self.lane, open.timestamp, open.arrival);
        match (open.damage.or(ended.err()), stamp) {
            (Some(reason), _) => {
                self.problems.push_back(reason);
                self.lose(now);
                self.aligned = true;
            }
            (None, Some(stamp)) if !self.unit.is_empty() => {
                let lost = std::mem::take(&mut self.gap);
                self.reader.push(&self.unit, stamp.time, lost, stamp.jumped);
                if self.key.missing {
                    self.key.ask(now);
                }
            }
            (None, _) => {}
        }
        self.unit.clear();
        if self.unit.capacity() > SCRATCH_BYTES_MAX {
            self.unit = Vec::new();
        }
    }

    /// Packets are missing here.
    fn lose(&mut self, now: Instant) {
        if self.open.take().is_some() {
            self.stats.frames_dropped += 1;
            let _incomplete = self.depacketiser.end(&mut self.unit);
        }
        self.unit.clear();
        self.aligned = !self.codec.is_video();
        self.gap = true;
        if self.codec.is_video() {
            self.key.missing = true;
            self.key.ask(now);
        }
    }

    /// The next finding. A keyframe ends the waiting for one.
    pub(super) fn poll(&mut self) -> Option<Output> {
        if let Some(reason) = self.problems.pop_front() {
            return Some(Output::Problem(reason));
        }
        let output = self.reader.poll()?;
        if let Output::Frame(frame) = &output {
            self.stats.frames += 1;
            if frame.keyframe {
                self.key = Key::default();
            }
        }
        Some(output)
    }

    /// Whether a keyframe has to be asked for now, and of which source.
    pub(super) fn take_request(&mut self) -> Option<u32> {
        if !std::mem::take(&mut self.key.due) || !self.key.missing {
            return None;
        }
        self.stats.keyframes_needed += 1;
        self.queue.ssrc()
    }

    /// Asks again.
    pub(super) fn remind(&mut self, now: Instant) {
        if self.key.missing && self.key.asked.is_some() {
            self.key.ask(now);
        }
    }

    /// When something has to be done although nothing comes.
    pub(super) fn deadline(&self, config: &ImportConfig) -> Option<Instant> {
        let asked = self.key.asked.filter(|_| self.key.missing).map(|asked| asked + KEYFRAME_REPEAT);
        [self.queue.deadline(self.wait_max(config)), asked].into_iter().flatten().min()
    }

    fn wait_max(&self, config: &ImportConfig) -> Duration {
        if self.codec.is_video() { config.wait_max } else { config.audio_wait_max }
    }

    /// The source, once it has sent.
    pub(super) fn ssrc(&self) -> Option<u32> {
        self.queue.ssrc()
    }

    /// Nothing more is to be expected before it has a track.
    pub(super) fn is_known(&self) -> bool {
        self.track.is_some()
    }
}

impl Key {
    fn ask(&mut self, now: Instant) {
        if self.asked.is_none_or(|asked| now >= asked + KEYFRAME_REPEAT) {
            self.asked = Some(now);
            self.due = true;
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Stream")
            .field("codec", &self.codec)
            .field("track", &self.track)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
