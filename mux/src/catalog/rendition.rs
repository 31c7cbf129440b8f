//! What a player can choose from.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::text;
use crate::event::{AudioConfig, VideoConfig};

/// How the frames of a rendition are wrapped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Container {
    /// Presentation time as a QUIC varint of microseconds, then the codec's bytes.
    #[default]
    Legacy,
    /// Low Overhead Container: a block of properties, then the codec's bytes.
    Loc,
    /// A fragment of fMP4 per frame.
    Cmaf {
        /// `ftyp` and `moov`, base64.
        init: String,
    },
    /// One that we do not know; only ever read.
    #[serde(other)]
    Unknown,
}

/// Parameters of a video track.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VideoRendition {
    /// WebCodecs string. `avc3` and `hev1`: parameter sets are in the stream, and there is no description.
    pub codec: String,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coded_width: Option<u32>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coded_height: Option<u32>,
    /// Width of the picture as it is shown, when pixels are not square; only together with the height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_aspect_width: Option<u32>,
    /// Height of the picture as it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_aspect_height: Option<u32>,
    /// Bit/s, when it is known beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<u64>,
    /// Frames per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framerate: Option<f64>,
    /// avcC or hvcC.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::hex")]
    pub description: Option<Bytes>,
    /// How frames are wrapped.
    #[serde(default)]
    pub container: Container,
    /// Milliseconds, not 0: how much of the track a player has to hold back to play it evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<u32>,
}

impl From<&VideoConfig> for VideoRendition {
    fn from(config: &VideoConfig) -> Self {
        let shown = config.sample_aspect.map(|(across, down)| {
            let width = u64::from(config.width) * u64::from(across) / u64::from(down.max(1));
            u32::try_from(width.max(1)).unwrap_or(u32::MAX)
        });
        Self {
            codec: config.codec_string.clone(),
            coded_width: Some(config.width),
            coded_height: Some(config.height),
            display_aspect_width: shown,
            display_aspect_height: shown.map(|_| config.height),
            bitrate: None,
            framerate: config.framerate,
            description: None,
            container: Container::Legacy,
            jitter: millis(config.jitter),
        }
    }
}

/// Parameters of an audio track.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AudioRendition {
    /// WebCodecs string.
    pub codec: String,
    /// Hertz.
    pub sample_rate: u32,
    /// Channels.
    pub number_of_channels: u32,
    /// Bit/s, when it is known beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<u64>,
    /// AudioSpecificConfig or OpusHead.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::hex")]
    pub description: Option<Bytes>,
    /// How frames are wrapped.
    #[serde(default)]
    pub container: Container,
    /// Milliseconds, not 0: how much of the track a player has to hold back to play it evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<u32>,
}

impl From<&AudioConfig> for AudioRendition {
    fn from(config: &AudioConfig) -> Self {
        Self {
            codec: config.codec_string.clone(),
            sample_rate: config.sample_rate,
            number_of_channels: config.channels,
            bitrate: None,
            description: config.description.clone(),
            container: Container::Legacy,
            jitter: millis(config.jitter),
        }
    }
}

/// Whole milliseconds, rounded up; a player must not be told 0.
fn millis(duration: Duration) -> Option<u32> {
    u32::try_from(duration.as_micros().div_ceil(1000)).ok().filter(|millis| *millis > 0)
}
