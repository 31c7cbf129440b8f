//! AAC to Opus, for browsers, which receive no other sound over WebRTC.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use moqgate_core::Timestamp;

use crate::event::{AudioConfig, MediaFrame};

/// What an operator may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpusConfig {
    /// Bit/s; `None` leaves it to the encoder: 96 kbit/s for stereo, 64 kbit/s for mono.
    pub bitrate: Option<u32>,
    /// 0 to 10: how much work a frame is worth.
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
    #[error("AAC that cannot be decoded: {0}")]
    Unsupported(&'static str),
    /// The encoder or the resampler refused to start.
    #[error("the Opus encoder cannot start: {0}")]
    Encoder(String),
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TranscodeStats {
    /// AAC frames taken.
    pub frames_in: u64,
    /// AAC frames that could not be decoded; silence stands for them.
    pub frames_damaged: u64,
    /// Opus packets given out.
    pub frames_out: u64,
    /// How often the sound was missing or its time jumped, and the output was anchored anew.
    pub gaps: u64,
}

/// Decodes AAC and encodes Opus packets of 20 ms.
///
/// [`push`](Self::push) an access unit with its time, then [`poll`](Self::poll) until `None`. Times follow those of the
/// input: they are counted in samples, kept near the timestamps while those drift, and anchored anew where sound is
/// missing. All delays (decoder, resampler, encoder) are taken off, so that sound stays with its picture.
#[derive(Debug)]
pub struct AacToOpus {
    packets: VecDeque<MediaFrame>,
}

impl AacToOpus {
    /// How long an Opus packet plays.
    pub const FRAME: Duration = Duration::from_millis(20);

    /// A transcoder for AAC with this AudioSpecificConfig (ISO/IEC 14496-3 section 1.6.2.1).
    ///
    /// # Errors
    /// [`TranscodeError`]: this AAC cannot be decoded, and why.
    pub fn new(_specific_config: &Bytes, _config: OpusConfig) -> Result<Self, TranscodeError> {
        Err(TranscodeError::Unsupported("not yet there"))
    }

    /// What comes out: Opus with its OpusHead.
    pub fn output(&self) -> AudioConfig {
        AudioConfig {
            codec: crate::event::AudioCodec::Opus,
            codec_string: "opus".to_owned(),
            sample_rate: 48_000,
            channels: 2,
            description: None,
            frame_duration: Self::FRAME,
            jitter: Self::FRAME,
        }
    }

    /// Takes a raw access unit (without ADTS) that plays at `time`.
    pub fn push(&mut self, _time: Timestamp, _unit: &[u8]) {}

    /// The next packet, as a *legacy* payload with its time.
    pub fn poll(&mut self) -> Option<MediaFrame> {
        self.packets.pop_front()
    }

    /// The input is over: gives out what the encoder still holds.
    pub fn finish(&mut self) {}

    /// Counts so far.
    pub fn stats(&self) -> TranscodeStats {
        TranscodeStats::default()
    }
}
