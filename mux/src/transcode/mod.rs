//! AAC to Opus, for browsers, which receive no other sound over WebRTC.
//!
//! ```text
//! AAC unit -> samples -> 48 kHz -> packets of 20 ms, each with the time of what is heard in it
//! ```
//!
//! Decoded is the Low Complexity core in mono and stereo. Of HE-AAC that is the sound without its highest octave
//! ([`AacToOpus::is_core_only`]); other AAC is refused.

mod decode;
mod resample;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use moqgate_core::Timestamp;
use opus::{Application, Bitrate, Channels, Encoder};

use crate::codec::audio::clock::Clock;
use crate::codec::legacy_payload;
use crate::codec::opus::{OpusLayout, head};
use crate::event::{AudioCodec, AudioConfig, MediaFrame};
use decode::Decoder;
use resample::Resampler;

/// Hertz at which Opus counts.
const RATE: u32 = 48_000;

/// Samples per channel of a packet: 20 ms.
const PACKET_SAMPLES: usize = 960;

/// The longest packet of one Opus frame, with its first byte (RFC 6716 section 3.2.1).
const PACKET_BYTES_MAX: usize = 1276;

/// A correction of the time that is larger is no drift, microseconds.
const JUMP: u64 = 1000;

/// What an operator may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpusConfig {
    /// Bit/s, 6,000 to 510,000; `None` is 96 kbit/s for stereo and 64 kbit/s for mono, which few can tell from the source.
    pub bitrate: Option<u32>,
    /// 0 to 10: how much work a packet is worth.
    pub complexity: u8,
}

impl Default for OpusConfig {
    fn default() -> Self {
        Self { bitrate: None, complexity: 5 }
    }
}

/// Why sound cannot be transcoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TranscodeError {
    /// The AudioSpecificConfig does not parse.
    #[error("the AudioSpecificConfig cannot be read")]
    Config,
    /// An AAC that the decoder does not know, in words.
    #[error("this AAC cannot be decoded: {0}")]
    Unsupported(&'static str),
    /// The encoder or the resampler refused to start.
    #[error("the Opus encoder cannot start: {0}")]
    Encoder(String),
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TranscodeStats {
    /// AAC units taken.
    pub frames_in: u64,
    /// AAC units that could not be decoded; silence stands for them.
    pub frames_damaged: u64,
    /// Opus packets given out.
    pub frames_out: u64,
    /// How often sound was missing or its time jumped, and the output was anchored anew.
    pub gaps: u64,
}

/// Decodes AAC and encodes Opus packets of 20 ms.
///
/// [`push`](Self::push) an access unit with its time, then [`poll`](Self::poll) until `None`. Times follow those of the
/// input: they are counted in samples, kept near the timestamps while those drift, and anchored anew where sound is
/// missing. All delays (resampler, encoder) are taken off, so that sound stays with its picture.
pub struct AacToOpus {
    decoder: Decoder,
    resampler: Resampler,
    encoder: Encoder,
    /// Samples per channel by which the encoder is late.
    lookahead: u32,
    channels: usize,
    clock: Clock,
    decoded: Vec<f32>,
    /// What is not encoded yet, at 48 kHz.
    waiting: Vec<f32>,
    packets: VecDeque<MediaFrame>,
    stats: TranscodeStats,
}

impl AacToOpus {
    /// How long an Opus packet plays.
    pub const FRAME: Duration = Duration::from_millis(20);

    /// A transcoder for AAC with this AudioSpecificConfig (ISO/IEC 14496-3 section 1.6.2.1).
    ///
    /// # Errors
    /// [`TranscodeError`]: this AAC cannot be decoded, and why.
    pub fn new(specific_config: &Bytes, config: OpusConfig) -> Result<Self, TranscodeError> {
        const BITRATES: [u32; 2] = [64_000, 96_000];
        let decoder = Decoder::new(specific_config)?;
        let channels = decoder.channels();
        let resampler = Resampler::new(decoder.rate(), decoder.samples(), channels)?;
        let layout = if channels == 1 { Channels::Mono } else { Channels::Stereo };
        let bitrate = config.bitrate.unwrap_or(BITRATES[channels - 1]).clamp(6_000, 510_000);
        let start = || -> Result<(Encoder, i32), opus::Error> {
            let mut encoder = Encoder::new(RATE, layout, Application::Audio)?;
            encoder.set_bitrate(Bitrate::Bits(bitrate.cast_signed()))?;
            encoder.set_complexity(i32::from(config.complexity.min(10)))?;
            let lookahead = encoder.get_lookahead()?;
            Ok((encoder, lookahead))
        };
        let (encoder, lookahead) = start().map_err(|error| TranscodeError::Encoder(error.to_string()))?;
        Ok(Self {
            decoder,
            resampler,
            encoder,
            lookahead: u32::try_from(lookahead).unwrap_or_default(),
            channels,
            clock: Clock::default(),
            decoded: Vec::new(),
            waiting: Vec::new(),
            packets: VecDeque::new(),
            stats: TranscodeStats::default(),
        })
    }

    /// What comes out: Opus with its OpusHead.
    pub fn output(&self) -> AudioConfig {
        let mono = OpusLayout { channels: 1, family: 0, streams: 1, coupled: 0 };
        let layout = if self.channels == 1 { mono } else { OpusLayout { channels: 2, coupled: 1, ..mono } };
        let pre_skip = u16::try_from(self.lookahead).unwrap_or_default();
        AudioConfig {
            codec: AudioCodec::Opus,
            codec_string: "opus".to_owned(),
            sample_rate: RATE,
            channels: u32::from(layout.channels),
            description: Some(Bytes::from(head(layout, pre_skip))),
            frame_duration: Self::FRAME,
            jitter: Self::FRAME,
        }
    }

    /// The source is HE-AAC, of which only the core is decoded: nothing is heard above half of its bandwidth.
    pub fn is_core_only(&self) -> bool {
        self.decoder.is_core_only()
    }

    /// Takes a raw access unit (without ADTS) that plays at `time`.
    pub fn push(&mut self, time: Timestamp, unit: &[u8]) {
        self.stats.frames_in += 1;
        let expected = self.clock.now();
        self.clock.sync(time);
        let begin = self.clock.now().unwrap_or(time);
        let off = expected.map_or(0, |expected| expected.as_micros().abs_diff(begin.as_micros()));
        if off > JUMP {
            self.stats.gaps += 1;
            self.waiting.clear();
            self.resampler.reset();
        }
        self.decoded.clear();
        if !self.decoder.decode(unit, &mut self.decoded) {
            self.stats.frames_damaged += 1;
        }
        self.clock.advance(self.decoder.samples(), self.decoder.rate());
        self.resampler.process(&self.decoded, &mut self.waiting);
        let end = self.clock.now().unwrap_or(begin);
        self.encode(end);
    }

    /// Encodes what fills packets. What was decoded so far plays until `end`.
    fn encode(&mut self, end: Timestamp) {
        let size = PACKET_SAMPLES * self.channels;
        let waiting = self.waiting.len() / self.channels;
        let mut encoded = 0;
        let mut packet = [0; PACKET_BYTES_MAX];
        while self.waiting.len() >= (encoded + 1) * size {
            let input = &self.waiting[encoded * size..(encoded + 1) * size];
            let behind = (waiting - encoded * PACKET_SAMPLES) as u64
                + self.resampler.behind()
                + u64::from(self.lookahead);
            encoded += 1;
            let Ok(length) = self.encoder.encode_float(input, &mut packet) else { continue };
            let micros = end.as_micros().saturating_sub(behind * 1_000_000 / u64::from(RATE));
            let pts = Timestamp::from_micros(micros);
            let payload = legacy_payload(pts, &[&packet[..length]]);
            self.packets.push_back(MediaFrame { pts, dts: None, keyframe: true, payload });
            self.stats.frames_out += 1;
        }
        self.waiting.drain(..encoded * size);
    }

    /// The next packet, as a *legacy* payload with its time.
    pub fn poll(&mut self) -> Option<MediaFrame> {
        self.packets.pop_front()
    }

    /// Counts so far.
    pub fn stats(&self) -> TranscodeStats {
        self.stats
    }
}

impl std::fmt::Debug for AacToOpus {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AacToOpus").field("stats", &self.stats).finish_non_exhaustive()
    }
}
