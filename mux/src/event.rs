//! What an importer found: the vocabulary between containers and the [`Publisher`](crate::publisher::Publisher).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moqgate_core::Timestamp;

/// One finding of an importer, in the order in which it has to be applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A new track; always before any frame of it.
    Track(Track),
    /// The parameters of a known track changed; they hold from its next frame on.
    Config {
        /// The track whose parameters changed.
        track: TrackId,
        /// All of its parameters, not a difference.
        config: CodecConfig,
    },
    /// One access unit.
    Frame {
        /// The track it belongs to.
        track: TrackId,
        /// The access unit.
        frame: MediaFrame,
    },
    /// The track is over: the container no longer lists it.
    TrackEnd(TrackId),
    /// The time line or the content jumped (encoder restart, splice, loop): every open group ends here and video
    /// goes on with its next keyframe. Timestamps after it still continue the same rebased time line.
    Discontinuity,
    /// Something the operator should know; changes nothing in the broadcast.
    Problem(Problem),
}

/// Identifies a track within one importer; never reused by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u32);

/// A track as the container and the first parameters of its codec describe it.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// The importer's name for it.
    pub id: TrackId,
    /// Codec and parameters, complete enough to publish the track.
    pub config: CodecConfig,
    /// ISO 639 language, three lowercase letters, where the container names one.
    pub language: Option<Arc<str>>,
    /// Where an MPEG transport stream carried it; kept so that an exporter can rebuild the same program.
    pub origin: Option<TsOrigin>,
}

/// Place and description of a track in a transport stream's program map (H.222.0 section 2.4.4.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TsOrigin {
    /// Packet identifier, 13 bits.
    pub pid: u16,
    /// `stream_type` of the program map.
    pub stream_type: u8,
    /// The ES descriptor loop, verbatim.
    pub descriptors: Bytes,
}

/// What a track carries.
#[derive(Clone, Debug, PartialEq)]
pub enum CodecConfig {
    /// Moving pictures.
    Video(VideoConfig),
    /// Sound.
    Audio(AudioConfig),
    /// Anything else; carried verbatim.
    Data(DataConfig),
}

impl CodecConfig {
    /// The ending of the track's name: `avc3` in `0.avc3`.
    pub fn suffix(&self) -> &'static str {
        match self {
            Self::Video(video) => video.codec.suffix(),
            Self::Audio(audio) => audio.codec.suffix(),
            Self::Data(data) => data.kind.suffix(),
        }
    }

    /// `video`, `audio` or `data`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Video(_) => "video",
            Self::Audio(_) => "audio",
            Self::Data(_) => "data",
        }
    }
}

/// Parameters of a video track, from its sequence parameter set.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoConfig {
    /// The coding.
    pub codec: VideoCodec,
    /// WebCodecs string with in-band parameter sets: `avc3.64001f`, `hev1.1.6.L93.B0`, `av01.0.08M.08`.
    pub codec_string: String,
    /// Width after cropping, pixels.
    pub width: u32,
    /// Height after cropping, pixels.
    pub height: u32,
    /// Sample aspect ratio when it is given and is not 1:1.
    pub sample_aspect: Option<(u16, u16)>,
    /// Frames per second, when the stream declares a rate.
    pub framerate: Option<f64>,
    /// By how many frames the decoder may have to wait to put pictures into display order; 0 = no reordering.
    pub reorder_frames: u8,
    /// How much earlier than its display a picture may have to be sent: what a player has to buffer. Starts as what
    /// the reordering depth implies and only ever grows, when the stream shows more.
    pub jitter: Duration,
}

/// Video codings. All of them bring what a decoder has to know in front of each keyframe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// H.264 / AVC in Annex B, parameter sets in band.
    H264,
    /// H.265 / HEVC in Annex B, parameter sets in band.
    H265,
    /// AV1 temporal units of OBUs with size fields, without temporal delimiters, the sequence header in band.
    Av1,
    /// VP9 frames or superframes.
    Vp9,
    /// VP8 frames.
    Vp8,
}

impl VideoCodec {
    fn suffix(self) -> &'static str {
        match self {
            Self::H264 => "avc3",
            Self::H265 => "hev1",
            Self::Av1 => "av01",
            Self::Vp9 => "vp09",
            Self::Vp8 => "vp8",
        }
    }
}

/// Parameters of an audio track.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioConfig {
    /// The coding.
    pub codec: AudioCodec,
    /// WebCodecs string, or the registered name where WebCodecs has none: `mp4a.40.2`, `opus`, `mp3`, `ac-3`.
    pub codec_string: String,
    /// Hertz at the decoder's output.
    pub sample_rate: u32,
    /// Channels at the decoder's output.
    pub channels: u32,
    /// AudioSpecificConfig, OpusHead, or `fLaC` with the STREAMINFO block.
    pub description: Option<Bytes>,
    /// How long one frame plays.
    pub frame_duration: Duration,
    /// How much sound arrives in one burst (one PES packet), never less than one frame: what a player has to buffer.
    /// Only ever grows.
    pub jitter: Duration,
}

/// Audio codings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// AAC, raw access units, configured by an AudioSpecificConfig.
    Aac,
    /// Opus packets.
    Opus,
    /// MPEG-1/2 layer III.
    Mp3,
    /// MPEG-1/2 layer I or II.
    Mp2,
    /// AC-3 sync frames.
    Ac3,
    /// Enhanced AC-3: one independent frame with its dependent substreams.
    Eac3,
    /// FLAC frames.
    Flac,
}

impl AudioCodec {
    fn suffix(self) -> &'static str {
        match self {
            Self::Aac => "aac",
            Self::Opus => "opus",
            Self::Mp3 => "mp3",
            Self::Mp2 => "mp2",
            Self::Ac3 => "ac3",
            Self::Eac3 => "eac3",
            Self::Flac => "flac",
        }
    }
}

/// A track that no player decodes and that rides along verbatim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataConfig {
    /// What it is, as far as the container says.
    pub kind: DataKind,
}

/// Kinds of carried data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataKind {
    /// KLV metadata without cells (SMPTE RP 217).
    Klv,
    /// KLV in synchronous metadata cells (H.222.0 section 2.12).
    KlvSync,
    /// SCTE-35 splice sections.
    Scte35,
    /// Timed ID3 tags.
    Id3,
    /// DVB teletext.
    Teletext,
    /// DVB subtitles.
    Subtitle,
    /// A stream whose coding we do not know.
    Private,
}

impl DataKind {
    fn suffix(self) -> &'static str {
        match self {
            Self::Klv => "klv",
            Self::KlvSync => "klvs",
            Self::Scte35 => "scte35",
            Self::Id3 => "id3",
            Self::Teletext => "teletext",
            Self::Subtitle => "dvbsub",
            Self::Private => "private",
        }
    }
}

/// One access unit, ready for the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaFrame {
    /// When it is shown.
    pub pts: Timestamp,
    /// When it is decoded, if the container says so and it differs.
    pub dts: Option<Timestamp>,
    /// Decoding can start here. Always true for audio and data.
    pub keyframe: bool,
    /// The hang *legacy* payload: `pts` in microseconds as a QUIC varint, then the codec's bytes.
    pub payload: Bytes,
}

impl MediaFrame {
    /// The codec's bytes, without the timestamp in front of them.
    pub fn media(&self) -> &[u8] {
        let prefix = self.payload.first().map_or(0, |first| 1 << (first >> 6));
        self.payload.get(prefix..).unwrap_or_default()
    }
}

/// Something wrong in the input that was survived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The track it happened in, if it belongs to one.
    pub track: Option<TrackId>,
    /// One word for counters and logs: `adts_resync`.
    pub reason: &'static str,
}
