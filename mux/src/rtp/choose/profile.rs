//! Profiles and levels: what a receiver says it decodes, against what a track is.

use super::super::{Codec, Format};
use super::Fit;

/// How well `format` fits a track with this codec string; `None` when its profile does not include the track's.
pub(super) fn fit(format: &Format, codec: &str) -> Option<Fit> {
    let fields: Vec<&str> = codec.split('.').collect();
    match format.codec() {
        Codec::H264 => h264(format, fields.get(1)?),
        Codec::H265 => h265(format, &fields),
        Codec::Vp9 => {
            let offered = number(format, "profile-id", 0);
            (fields.get(1)?.parse() == Ok(offered)).then_some(Fit::Exact)
        }
        Codec::Av1 => av1(format, &fields),
        Codec::Vp8 | Codec::Opus => Some(Fit::Exact),
    }
}

fn number(format: &Format, name: &str, default: u32) -> u32 {
    format.parameter(name).and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn graded(same: bool, level_suffices: bool) -> Fit {
    match (level_suffices, same) {
        (false, _) => Fit::LevelBeyond,
        (true, false) => Fit::Wider,
        (true, true) => Fit::Exact,
    }
}

/// Profiles of H.264 that RFC 6184 section 8.1 tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    ConstrainedHigh,
    High,
    Other(u8),
}

impl Profile {
    /// From `profile_idc` and the constraint flags.
    fn new(idc: u8, constraints: u8) -> Self {
        match (idc, constraints) {
            (66, flags) if flags & 0x40 != 0 => Self::ConstrainedBaseline,
            (77, flags) if flags & 0x80 != 0 => Self::ConstrainedBaseline,
            (88, flags) if flags & 0xc0 == 0xc0 => Self::ConstrainedBaseline,
            (66, _) => Self::Baseline,
            (88, flags) if flags & 0x80 != 0 => Self::Baseline,
            (77, _) => Self::Main,
            (100, flags) if flags & 0x0c == 0x0c => Self::ConstrainedHigh,
            (100, _) => Self::High,
            (other, _) => Self::Other(other),
        }
    }

    /// Whether a decoder of this profile decodes `track`. What only Baseline has (slice groups in any order), no encoder
    /// writes, so that it counts as Constrained Baseline.
    fn includes(self, track: Self) -> bool {
        let basic = matches!(track, Self::Baseline | Self::ConstrainedBaseline);
        match self {
            Self::ConstrainedBaseline | Self::Baseline => basic,
            Self::Main => basic || track == Self::Main,
            Self::ConstrainedHigh => basic || track == Self::ConstrainedHigh,
            Self::High => basic || matches!(track, Self::Main | Self::ConstrainedHigh | Self::High),
            Self::Other(_) => self == track,
        }
    }
}

/// Three bytes: profile, constraints, level.
fn profile_level(hex: &str) -> Option<(Profile, u8)> {
    let value = u32::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 6)?;
    let [_, idc, constraints, level] = value.to_be_bytes();
    Some((Profile::new(idc, constraints), level))
}

fn h264(format: &Format, track: &str) -> Option<Fit> {
    /// Baseline level 1 is what no word means.
    const DEFAULT: &str = "42000a";
    let (offered, offered_level) = profile_level(format.parameter("profile-level-id").unwrap_or(DEFAULT))?;
    let (profile, level) = profile_level(track)?;
    offered.includes(profile).then(|| graded(offered == profile, level <= offered_level))
}

/// `hev1.1.6.L93.B0` against RFC 7798 section 7.1.
fn h265(format: &Format, fields: &[&str]) -> Option<Fit> {
    let profile: u32 = fields.get(1)?.trim_start_matches(['A', 'B', 'C']).parse().ok()?;
    let level = fields.get(3)?;
    let high_tier = level.starts_with('H');
    let level: u32 = level.get(1..)?.parse().ok()?;
    let offered = number(format, "profile-id", 1);
    // Main 10 includes Main.
    let includes = offered == profile || (offered == 2 && profile == 1);
    let tier = number(format, "tier-flag", 0) == 1 || !high_tier;
    includes.then(|| graded(offered == profile, tier && level <= number(format, "level-id", 93)))
}

/// `av01.0.04M.08` against the payload specification section 7.2.
fn av1(format: &Format, fields: &[&str]) -> Option<Fit> {
    let profile: u32 = fields.get(1)?.parse().ok()?;
    let level = fields.get(2)?;
    let high_tier = level.ends_with('H');
    let level: u32 = level.get(..2)?.parse().ok()?;
    let offered = number(format, "profile", 0);
    let tier = number(format, "tier", 0) == 1 || !high_tier;
    // Each profile includes those below it.
    (offered >= profile).then(|| graded(offered == profile, tier && level <= number(format, "level-idx", 5)))
}
