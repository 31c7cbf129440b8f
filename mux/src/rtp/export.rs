//! The exporter: frames of one track in, packets out.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use moqgate_core::Timestamp;

use super::payload::{Packetiser, Writer, packetiser};
use super::shared::{Payloads, Spread};
use super::{Codec, Packet};
use crate::catalog::Catalog;
use crate::codec::inband::InBand;
use crate::event::VideoCodec;
use crate::export::{Coding, Video, annex_b, sources};

/// The least and the most that a payload may be allowed: room for a descriptor and something behind it, and what a length
/// of 16 bits can say.
const PAYLOAD_LIMITS: (usize, usize) = (64, 65_000);

/// A frame so far before the newest one, microseconds, begins another time line; no reordering reaches as far.
const RESTART: u64 = 2_000_000;

/// How packets are to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportConfig {
    /// Largest payload, bytes. The default leaves room for an RTP header and its extensions in 1200 bytes, which is what
    /// browsers send and every path carries. An Opus packet is never cut.
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
    /// The parameter sets allow for so many frames (B-frames); none was seen yet.
    Declared(u8),
    /// A frame was shown before one that was sent ahead of it.
    Observed,
}

/// Packetises one track.
///
/// Frames leave in the order in which they are pushed, which is that of decoding, with their presentation time as RTP
/// timestamp. Pictures begin with a keyframe; H.264 and H.265 have their parameter sets in front of each keyframe.
pub struct Exporter {
    track: Option<String>,
    codec: Codec,
    /// What is known of a video track.
    video: Option<Video>,
    config: ExportConfig,
    packetiser: Box<dyn Packetiser>,
    shared: Option<Arc<Payloads>>,
    joined: bool,
    newest: Option<Timestamp>,
    observed: bool,
    /// What the last keyframe's sets said.
    declared: Option<u8>,
    packets: VecDeque<Packet>,
}

impl Exporter {
    /// An exporter for `track` of the catalog. `None` when RTP has no form for it.
    pub fn new(catalog: &Catalog, track: &str, config: ExportConfig) -> Option<Self> {
        let (codec, video) = find(catalog, track)?;
        Some(Self { track: Some(track.to_owned()), video, ..Self::with_codec(codec, config) })
    }

    /// An exporter for frames of `codec` with all parameters in band, such as those of a
    /// [transcoder](crate::transcode).
    pub fn with_codec(codec: Codec, config: ExportConfig) -> Self {
        let payload_max = config.payload_max.clamp(PAYLOAD_LIMITS.0, PAYLOAD_LIMITS.1);
        Self {
            track: None,
            codec,
            video: None,
            config: ExportConfig { payload_max, ..config },
            packetiser: packetiser(codec),
            shared: None,
            joined: !codec.is_video(),
            newest: None,
            observed: false,
            declared: None,
            packets: VecDeque::new(),
        }
    }

    /// There is a new catalog. False when the track is not in it any more, or is something else now: make a new exporter
    /// then.
    pub fn update(&mut self, catalog: &Catalog) -> bool {
        let Some(track) = &self.track else { return true };
        match find(catalog, track) {
            Some((codec, video)) if codec == self.codec => {
                self.video = video;
                true
            }
            _ => false,
        }
    }

    /// Goes on with another track of the same coding, from its next keyframe: sequence numbers and picture numbers run on,
    /// so that a receiver sees one stream. False when RTP has no form for the track, or it is of another coding.
    pub fn switch(&mut self, catalog: &Catalog, track: &str) -> bool {
        match find(catalog, track) {
            Some((codec, video)) if codec == self.codec => {
                self.restart();
                (self.track, self.video) = (Some(track.to_owned()), video);
                true
            }
            _ => false,
        }
    }

    /// Goes on with other frames of the same coding, which have all parameters in band; otherwise as
    /// [`switch`](Self::switch).
    pub fn restart(&mut self) {
        (self.track, self.video) = (None, None);
        self.joined = !self.codec.is_video();
        (self.newest, self.observed, self.declared) = (None, false, None);
    }

    /// Has payloads in common with all other exporters of the same track that are given the same. Codings whose payloads
    /// differ from receiver to receiver, by picture numbers, do not.
    pub fn share(&mut self, payloads: Option<Arc<Payloads>>) {
        self.shared = payloads.filter(|_| !matches!(self.codec, Codec::Vp8 | Codec::Vp9));
    }

    /// The coding of the packets.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Takes the next frame: its presentation time, whether it is the first of its group, and its *legacy* payload.
    pub fn push(&mut self, timestamp: Timestamp, keyframe: bool, payload: &Bytes) {
        let prefix = payload.first().map_or(0, |first| 1usize << (first >> 6));
        if payload.len() <= prefix {
            return; // The marker of an end, without content.
        }
        let data = payload.slice(prefix..);
        self.joined |= keyframe;
        if !self.joined {
            return;
        }
        let spread = self.spread(payload, keyframe, data);
        self.watch(timestamp, spread.declared);
        let time = self.timestamp_of(timestamp);
        for payload in spread.payloads.iter().cloned() {
            let (ssrc, sequence) = (self.config.ssrc, self.config.sequence);
            self.config.sequence = sequence.wrapping_add(1);
            self.packets.push_back(Packet { ssrc, sequence, timestamp: time, marker: false, payload });
        }
        // For sound the marker is the start of talk after silence (RFC 3551 section 4.1), which is not known here.
        if let Some(last) = self.packets.back_mut().filter(|last| last.timestamp == time) {
            last.marker = self.codec.is_video();
        }
    }

    /// The next packet. Take all of them after every push.
    pub fn poll(&mut self) -> Option<Packet> {
        self.packets.pop_front()
    }

    /// What is known about the order of frames so far; after the first keyframe was pushed, most streams have told.
    pub fn reordering(&self) -> Reordering {
        match (self.codec, self.declared) {
            _ if self.observed => Reordering::Observed,
            (Codec::Vp8 | Codec::Vp9 | Codec::Av1 | Codec::Opus, _) | (_, Some(0)) => Reordering::None,
            (_, Some(frames)) => Reordering::Declared(frames),
            (_, None) => Reordering::Unknown,
        }
    }

    /// The RTP timestamp of a time of the broadcast, for sender reports.
    pub fn timestamp_of(&self, time: Timestamp) -> u32 {
        let [.., a, b, c, d] = time.to_scale(u64::from(self.codec.clock_rate())).to_be_bytes();
        self.config.timestamp.wrapping_add(u32::from_be_bytes([a, b, c, d]))
    }

    /// Puts `data`, the content of `frame`, over packets, unless somebody else has.
    fn spread(&mut self, frame: &Bytes, keyframe: bool, data: Bytes) -> Spread {
        let (video, most) = (self.video.as_ref(), self.config.payload_max);
        if let Some(known) = self.shared.as_ref().and_then(|shared| shared.find(frame, keyframe, video, most))
        {
            return known;
        }
        let unit = match video {
            Some(video) => annex_b(video, keyframe, data),
            None => data,
        };
        let codec = match self.codec {
            Codec::H264 => Some(VideoCodec::H264),
            Codec::H265 => Some(VideoCodec::H265),
            Codec::Vp8 | Codec::Vp9 | Codec::Av1 | Codec::Opus => None,
        };
        let inband = codec.filter(|_| keyframe).and_then(|codec| InBand::read(codec, &unit));
        let mut writer = Writer::new(most);
        self.packetiser.write(&unit, &mut writer);
        let spread = Spread {
            frame: frame.clone(),
            keyframe,
            video: self.video.clone(),
            most,
            payloads: writer.finish().collect(),
            declared: inband.map(|inband| inband.reordering),
        };
        if let Some(shared) = &self.shared {
            shared.keep(spread.clone());
        }
        spread
    }

    fn watch(&mut self, timestamp: Timestamp, declared: Option<Option<u8>>) {
        let behind = self.newest.and_then(|newest| newest.checked_sub(timestamp)).unwrap_or_default();
        if behind.as_micros() > u128::from(RESTART) {
            self.newest = Some(timestamp);
        } else {
            self.observed |= self.codec.is_video() && !behind.is_zero();
            self.newest = self.newest.max(Some(timestamp));
        }
        self.declared = declared.unwrap_or(self.declared);
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Exporter")
            .field("track", &self.track)
            .field("codec", &self.codec)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The coding of a track.
pub(super) fn find(catalog: &Catalog, track: &str) -> Option<(Codec, Option<Video>)> {
    let source = sources(catalog).into_iter().find(|source| source.name == track)?;
    match source.coding {
        Coding::Opus { .. } => Some((Codec::Opus, None)),
        Coding::Video(video) => {
            let codec = match video.codec {
                VideoCodec::H264 => Codec::H264,
                VideoCodec::H265 => Codec::H265,
                VideoCodec::Av1 => Codec::Av1,
                VideoCodec::Vp9 => Codec::Vp9,
                VideoCodec::Vp8 => Codec::Vp8,
            };
            Some((codec, Some(video)))
        }
        Coding::Aac { .. }
        | Coding::Mp3 { .. }
        | Coding::Mp2
        | Coding::Ac3
        | Coding::Eac3
        | Coding::Flac { .. }
        | Coding::Data { .. } => None,
    }
}
