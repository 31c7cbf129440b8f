//! The hang catalog: what a player reads before it subscribes to anything.
//!
//! It is a JSON object in the track [`TRACK`]; every update is a new group of one frame that holds all of it. The
//! rules that bite: a field without a value is absent, never null; integers are integers; binary is lowercase hex. One
//! bad field makes players refuse the whole catalog.
//!
//! What stands under `video` and `audio` has to be decodable by a player, because players try every rendition there.
//! Everything else (AC-3, layer II audio, KLV, SCTE-35, teletext) stands only in the root section `mpegts`, which
//! players skip as unknown and from which a transport stream can be rebuilt. The section has the shape that the
//! released MoQ tools write and read for the same purpose.

mod mpegts;
mod reader;
mod rendition;
mod text;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use mpegts::{Descriptor, Framing, Mpegts, MpegtsTrack, Verbatim};
pub use reader::CatalogReader;
pub use rendition::{AudioRendition, Container, VideoRendition};

/// Name of the catalog's track.
pub const TRACK: &str = "catalog.json";

/// Priority of the catalog's track: before all media.
pub const PRIORITY: u8 = 100;

/// Ticks per second of the catalog's timestamps.
pub const TIMESCALE: u64 = 1000;

/// Milliseconds from the Unix epoch to 2020-01-01, where the catalog's timestamps start.
const EPOCH_UNIX_MS: u64 = 1_577_836_800_000;

/// A time of the wall clock as a timestamp of the catalog, in milliseconds since 2020; 0 before.
#[must_use]
pub fn wall_ms(at: SystemTime) -> u64 {
    let unix = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(unix.as_millis()).unwrap_or(u64::MAX).saturating_sub(EPOCH_UNIX_MS)
}

/// Most renditions of one kind that peers read.
pub const RENDITIONS_MAX: usize = 64;

/// The whole catalog.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Catalog {
    /// Video renditions by track name.
    pub video: Renditions<VideoRendition>,
    /// Audio renditions by track name.
    pub audio: Renditions<AudioRendition>,
    /// How the tracks lay in a transport stream.
    #[serde(skip_serializing_if = "Mpegts::is_empty")]
    pub mpegts: Mpegts,
}

/// The renditions of one kind; written even when there are none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Renditions<T> {
    /// Parameters by track name.
    #[serde(default = "BTreeMap::new")]
    pub renditions: BTreeMap<String, T>,
}

impl<T> Default for Renditions<T> {
    fn default() -> Self {
        Self { renditions: BTreeMap::new() }
    }
}

impl Catalog {
    /// The catalog as it is sent. Equal catalogs give equal text.
    pub fn to_json(&self) -> String {
        // Maps with string keys and plain structs always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a catalog; unknown fields and sections are skipped.
    ///
    /// # Errors
    /// When the text is no JSON or a known field has the wrong type.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }
}

#[cfg(test)]
mod tests;
