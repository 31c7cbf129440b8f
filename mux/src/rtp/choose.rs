//! Which tracks of a broadcast a receiver can be sent.

use super::{Codec, Format};
use crate::catalog::Catalog;

/// A track that can be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its name in the broadcast.
    pub track: String,
    /// The coding.
    pub codec: Codec,
    /// Which of the offered formats fits it best: an index into what [`choose`] was given.
    pub format: usize,
    /// How well.
    pub fit: Fit,
}

/// How well a format fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// The same profile, and a level that suffices.
    Exact,
    /// A profile that includes that of the track.
    Wider,
    /// The profile fits; the track's level is above the offered one. Browsers offer level 3.1 and play 5.2.
    LevelBeyond,
}

/// A track that cannot be sent, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name in the broadcast.
    pub track: String,
    /// Its codec string.
    pub codec: String,
    /// The reason.
    pub reason: Unfit,
}

/// Why a track cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// RTP as browsers speak it has no form for this coding. AAC can be transcoded to Opus.
    #[error("the coding has no form in WebRTC")]
    NoPayloadFormat,
    /// The receiver did not offer the coding.
    #[error("the receiver does not offer the coding")]
    CodecNotOffered,
    /// The receiver offers the coding, but no profile that includes that of the track.
    #[error("the receiver does not offer the profile")]
    ProfileNotOffered,
    /// The track's frames are wrapped in a way that is not read here, or lack their description.
    #[error("the container of the frames is not supported")]
    Container,
}

/// What can be sent, best first for each kind, and what cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Video renditions: the best fit first, among equals the one with most pixels, then bitrate.
    pub video: Vec<Carried>,
    /// Audio renditions in the order of their names.
    pub audio: Vec<Carried>,
    /// The others.
    pub refused: Vec<Refused>,
}

/// Matches the tracks of a broadcast with the formats that a receiver has offered.
pub fn choose(_catalog: &Catalog, _formats: &[Format]) -> Choices {
    Choices::default()
}
