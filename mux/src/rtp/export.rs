//! The exporter: frames of one track in, packets out.

use std::collections::VecDeque;

use bytes::Bytes;
use moqgate_core::Timestamp;

use super::{Codec, Packet};
use crate::catalog::Catalog;

/// How packets are to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportConfig {
    /// Largest payload, bytes. The default leaves room for an RTP header and its extensions in 1200 bytes, which is what
    /// browsers send and every path carries.
    pub payload_max: usize,
    /// Synchronisation source of the packets.
    pub ssrc: u32,
    /// Sequence number of the first packet; random in SRTP.
    pub sequence: u16,
    /// RTP timestamp at time 0 of the broadcast; random.
    pub timestamp: u32,
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self { payload_max: 1172, ssrc: 0, sequence: 0, timestamp: 0 }
    }
}

/// Whether pictures are decoded in another order than shown. RTP has no decoding times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reordering {
    /// The stream does not say, and has not shown any.
    Unknown,
    /// There is none: the stream says so, or the coding knows none.
    None,
    /// There is (B-frames): the stream declares it, or a frame was shown before one that was sent ahead of it. By how
    /// many frames, where that is declared.
    Frames(Option<u8>),
}

/// Packetises one track.
///
/// Frames leave in the order in which they are pushed, which is that of decoding, with their presentation time as RTP
/// timestamp. Pictures begin with a keyframe; H.264 and H.265 have their parameter sets in front of each keyframe.
#[derive(Debug)]
pub struct Exporter {
    codec: Codec,
    config: ExportConfig,
    packets: VecDeque<Packet>,
}

impl Exporter {
    /// An exporter for `track` of the catalog. `None` when RTP has no form for it.
    pub fn new(_catalog: &Catalog, _track: &str, _config: ExportConfig) -> Option<Self> {
        None
    }

    /// An exporter for frames of `codec` with all parameters in band, such as those of a
    /// [transcoder](crate::transcode).
    pub fn with_codec(codec: Codec, config: ExportConfig) -> Self {
        Self { codec, config, packets: VecDeque::new() }
    }

    /// There is a new catalog. False when the track is not in it any more, or is something else now: make a new exporter
    /// then.
    pub fn update(&mut self, _catalog: &Catalog) -> bool {
        false
    }

    /// The coding of the packets.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Takes the next frame: its presentation time, whether it is the first of its group, and its *legacy* payload.
    pub fn push(&mut self, _timestamp: Timestamp, _keyframe: bool, _payload: &Bytes) {}

    /// The next packet.
    pub fn poll(&mut self) -> Option<Packet> {
        self.packets.pop_front()
    }

    /// What is known about the order of frames so far; after the first keyframe was pushed, most streams have told.
    pub fn reordering(&self) -> Reordering {
        Reordering::Unknown
    }

    /// The RTP timestamp of a time of the broadcast, for sender reports.
    pub fn timestamp_of(&self, time: Timestamp) -> u32 {
        let ticks = time.to_scale(u64::from(self.codec.clock_rate()));
        self.config.timestamp.wrapping_add((ticks & u64::from(u32::MAX)) as u32)
    }
}
