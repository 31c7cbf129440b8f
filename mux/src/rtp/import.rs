//! The importer: packets in, events for the publisher out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Format, Packet};
use crate::event::Event;

/// What an operator may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportConfig {
    /// How long a missing packet is waited for while later ones are there: retransmission has to fit in. Nothing waits
    /// while nothing is missing.
    pub wait_max: Duration,
}

impl Default for ImportConfig {
    fn default() -> Self {
        Self { wait_max: Duration::from_millis(400) }
    }
}

/// Names a stream within one importer; never reused by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// What comes out.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// For the publisher.
    Event(Event),
    /// Nothing of this stream can be decoded before its next keyframe: it is time for a PLI or FIR. Said at once when a
    /// loss could not be mended, and again every half second until a keyframe comes.
    KeyframeNeeded {
        /// The stream.
        stream: StreamId,
        /// Its synchronisation source, to which feedback is addressed.
        ssrc: u32,
    },
}

/// Counts of one stream. None of it is billed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Packets taken, empty ones included.
    pub packets: u64,
    /// Payload bytes of them.
    pub bytes: u64,
    /// Packets without payload.
    pub empty: u64,
    /// Packets that were there already.
    pub duplicates: u64,
    /// Packets that came after they had been given up.
    pub late: u64,
    /// Packets that came out of order and in time.
    pub reordered: u64,
    /// Packets that were given up.
    pub lost: u64,
    /// Frames given out.
    pub frames: u64,
    /// Frames dropped: incomplete, or before a keyframe.
    pub frames_dropped: u64,
    /// Requests for a keyframe.
    pub keyframes_needed: u64,
}

/// Imports the streams of one publisher.
///
/// Declare a stream for each negotiated media section, or for each layer of a simulcast, with [`add`](Self::add); give it
/// packets with [`push`](Self::push) as they arrive, repeated and out of order as they may be, and the publisher's sender
/// reports with [`sender_report`](Self::sender_report). After every call take all outputs with [`poll`](Self::poll).
#[derive(Debug)]
pub struct Importer {
    config: ImportConfig,
    outputs: VecDeque<Output>,
}

impl Importer {
    /// An importer that has seen nothing.
    pub fn new(config: ImportConfig) -> Self {
        Self { config, outputs: VecDeque::new() }
    }

    /// A new stream in this format. `None` when there are as many as one publisher may have.
    pub fn add(&mut self, _format: &Format) -> Option<StreamId> {
        None
    }

    /// The stream is over: its track ends.
    pub fn remove(&mut self, _stream: StreamId) {}

    /// Takes the next packet of a stream. It may come from another source than the last one, which then has ended.
    pub fn push(&mut self, _stream: StreamId, _packet: Packet, _arrival: Instant) {}

    /// A sender report of the source `ssrc` (RFC 3550 section 6.4.1): at `ntp` (seconds in the upper 32 bits) its clock
    /// stood at `rtp`.
    pub fn sender_report(&mut self, _ssrc: u32, _ntp: u64, _rtp: u32) {}

    /// The next output.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Gives up on packets that were waited for too long, and asks again for keyframes.
    pub fn handle_timeout(&mut self, _now: Instant) {
        let _ = self.config.wait_max;
    }

    /// The publisher has stopped: gives out what waits, and the end of every track.
    pub fn finish(&mut self) {}

    /// Counts of a stream.
    pub fn stats(&self, _stream: StreamId) -> Option<StreamStats> {
        None
    }
}
