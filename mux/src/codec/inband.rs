//! What the parameter sets in a keyframe say, for writers that see only frames.

use super::boxes::units;
use super::h264::H264;
use super::h265::H265;
use super::sets::SetKind;
use super::video::{Coding, Role};
use crate::event::{VideoCodec, VideoConfig};

/// The parameter sets of an Annex B access unit and what they say.
#[derive(Debug)]
pub(crate) struct InBand<'a> {
    pub(crate) sets: Vec<&'a [u8]>,
    pub(crate) config: VideoConfig,
    /// By how many pictures decoding and display order differ at most, where the sets say so.
    pub(crate) reordering: Option<u8>,
}

impl<'a> InBand<'a> {
    /// `None` when the unit does not bring all that decoding needs, or the coding has no sets.
    pub(crate) fn read(codec: VideoCodec, unit: &'a [u8]) -> Option<Self> {
        match codec {
            VideoCodec::H264 => read::<H264>(unit, |head| head & 31 < 6),
            VideoCodec::H265 => read::<H265>(unit, |head| head >> 1 & 63 < 32),
            VideoCodec::Av1 | VideoCodec::Vp9 | VideoCodec::Vp8 => None,
        }
    }
}

fn read<C: Coding>(unit: &[u8], is_slice: fn(u8) -> bool) -> Option<InBand<'_>> {
    let mut coding = C::default();
    let mut sets = Vec::new();
    let mut picture = None;
    for nal in units(unit) {
        // Sets stand in front of the slices, whose bytes need not be searched.
        if nal.first().copied().is_some_and(is_slice) {
            break;
        }
        if let Role::Set(key) = coding.inspect(nal) {
            sets.push(nal);
            if key.kind == SetKind::Picture {
                picture = picture.or(Some(key.id));
            }
        }
    }
    let config = coding.config(picture?)?;
    Some(InBand { sets, config, reordering: coding.reordering(picture?) })
}
