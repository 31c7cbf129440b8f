//! The sequence parameter set of H.265 (sections 7.3.2.2 and E.2.1).

use std::fmt::Write;

use crate::codec::bits::Bits;
use crate::codec::h264::{read_framerate, read_picture_format};
use crate::codec::video::reorder_lead;
use crate::event::{VideoCodec, VideoConfig};

/// Larger than any picture of level 6.2 in either direction.
const SIDE_MAX: u32 = 16_384;

/// Most short-term reference picture sets (section 7.4.3.2.1).
const REFERENCE_SETS_MAX: u32 = 64;

/// Most pictures in one of them: the largest decoded picture buffer.
const REFERENCES_MAX: u32 = 16;

#[derive(Debug)]
pub(super) struct Sps {
    pub(super) id: u8,
    profile: Profile,
    width: u32,
    height: u32,
    reorder: u8,
    aspect: Option<(u16, u16)>,
    framerate: Option<f64>,
}

#[derive(Debug)]
struct Profile {
    space: u32,
    high_tier: bool,
    idc: u32,
    compatibility: u32,
    constraints: [u8; 6],
    level: u32,
}

impl Sps {
    /// Reads the content of a unit of type 33, without its two header bytes. What does not parse behind the picture
    /// size and reordering counts as absent.
    pub(super) fn parse(rbsp: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(rbsp);
        bits.skip(4)?; // sps_video_parameter_set_id
        let layers = bits.read(3).filter(|layers| *layers <= 6)?;
        bits.flag()?; // sps_temporal_id_nesting_flag
        let profile = Profile::parse(&mut bits, layers)?;
        let id = bits.ue().filter(|id| *id < super::SPS_IDS)?;
        let (width, height) = size(&mut bits)?;
        bits.ue()?; // bit_depth_luma_minus8
        bits.ue()?; // bit_depth_chroma_minus8
        let order_bits = bits.ue().filter(|log2| *log2 <= 12)? + 4;
        let all_layers = bits.flag()?;
        let mut reorder = 0;
        for _ in if all_layers { 0 } else { layers }..=layers {
            bits.ue()?;
            reorder = bits.ue().filter(|count| *count <= REFERENCES_MAX)?;
            bits.ue()?;
        }
        let mut sps = Self {
            id: u8::try_from(id).ok()?,
            profile,
            width,
            height,
            reorder: u8::try_from(reorder).ok()?,
            aspect: None,
            framerate: None,
        };
        let _incomplete = sps.usability(&mut bits, order_bits);
        Some(sps)
    }

    pub(super) fn config(&self) -> VideoConfig {
        VideoConfig {
            codec: VideoCodec::H265,
            codec_string: self.profile.codec_string(),
            width: self.width,
            height: self.height,
            sample_aspect: self.aspect,
            framerate: self.framerate,
            reorder_frames: self.reorder,
            jitter: reorder_lead(self.reorder, self.framerate),
        }
    }

    /// Reads on to the frame rate.
    fn usability(&mut self, bits: &mut Bits<'_>, order_bits: u32) -> Option<()> {
        for _ in 0..6 {
            bits.ue()?; // block sizes and hierarchy depths
        }
        if bits.flag()? && bits.flag()? {
            scaling_lists(bits)?;
        }
        bits.skip(2)?; // amp_enabled_flag, sample_adaptive_offset_enabled_flag
        if bits.flag()? {
            bits.skip(8)?; // PCM bit depths
            bits.ue()?;
            bits.ue()?;
            bits.flag()?;
        }
        reference_sets(bits)?;
        if bits.flag()? {
            for _ in 0..bits.ue().filter(|count| *count <= 32)? {
                bits.skip(order_bits as usize + 1)?;
            }
        }
        bits.skip(2)?; // sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag
        if !bits.flag()? {
            return Some(());
        }
        self.aspect = read_picture_format(bits)?;
        bits.skip(3)?; // neutral_chroma, field_seq, frame_field_info
        if bits.flag()? {
            for _ in 0..4 {
                bits.ue()?; // default display window
            }
        }
        if bits.flag()? {
            self.framerate = read_framerate(bits, 1.0)?;
        }
        Some(())
    }
}

impl Profile {
    fn parse(bits: &mut Bits<'_>, layers: u32) -> Option<Self> {
        let space = bits.read(2)?;
        let high_tier = bits.flag()?;
        let idc = bits.read(5)?;
        let compatibility = bits.read(32)?;
        let mut constraints = [0; 6];
        for byte in &mut constraints {
            *byte = bits.byte()?;
        }
        let level = bits.read(8)?;
        let mut present = Vec::new();
        for _ in 0..layers {
            present.push((bits.flag()?, bits.flag()?));
        }
        if layers > 0 {
            bits.skip(2 * (8 - layers as usize))?;
        }
        for (profile, level) in present {
            bits.skip(88 * usize::from(profile) + 8 * usize::from(level))?;
        }
        Some(Self { space, high_tier, idc, compatibility, constraints, level })
    }

    /// ISO/IEC 14496-15 section E.3.
    fn codec_string(&self) -> String {
        let space = ["", "A", "B", "C"][self.space as usize & 3];
        let tier = if self.high_tier { 'H' } else { 'L' };
        let compatibility = self.compatibility.reverse_bits();
        let mut text = format!("hev1.{space}{}.{compatibility:X}.{tier}{}", self.idc, self.level);
        let used = self.constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        for byte in &self.constraints[..used] {
            // Writing to a string cannot fail.
            let _infallible = write!(text, ".{byte:X}");
        }
        text
    }
}

fn size(bits: &mut Bits<'_>) -> Option<(u32, u32)> {
    let chroma = bits.ue().filter(|chroma| *chroma <= 3)?;
    if chroma == 3 {
        bits.flag()?;
    }
    let side = |side: &u32| (1..=SIDE_MAX).contains(side);
    let width = bits.ue().filter(side)?;
    let height = bits.ue().filter(side)?;
    if !bits.flag()? {
        return Some((width, height));
    }
    let (unit_across, unit_down) = match chroma {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    };
    let across = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_across)?;
    let down = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_down)?;
    let width = width.checked_sub(across).filter(|width| *width > 0)?;
    Some((width, height.checked_sub(down).filter(|height| *height > 0)?))
}

fn scaling_lists(bits: &mut Bits<'_>) -> Option<()> {
    for size in 0..4 {
        for _ in (0..6).step_by(if size == 3 { 3 } else { 1 }) {
            if !bits.flag()? {
                bits.ue()?;
                continue;
            }
            if size > 1 {
                bits.se()?;
            }
            for _ in 0..64.min(1 << (4 + 2 * size)) {
                bits.se()?;
            }
        }
    }
    Some(())
}

/// Skips the short-term reference picture sets (section 7.3.7): each may be coded against the one before it, whose
/// size has to be known for that.
fn reference_sets(bits: &mut Bits<'_>) -> Option<()> {
    let mut before = 0;
    for index in 0..bits.ue().filter(|count| *count <= REFERENCE_SETS_MAX)? {
        let predicted = index > 0 && bits.flag()?;
        if predicted {
            bits.flag()?; // delta_rps_sign
            bits.ue()?; // abs_delta_rps_minus1
            let mut count = 0;
            for _ in 0..=before {
                let used = bits.flag()?;
                let kept = used || bits.flag()?;
                count += u32::from(kept);
            }
            before = count;
        } else {
            let negative = bits.ue().filter(|count| *count <= REFERENCES_MAX)?;
            let positive = bits.ue().filter(|count| *count <= REFERENCES_MAX)?;
            before = negative + positive;
            for _ in 0..before {
                bits.ue()?;
                bits.flag()?;
            }
        }
    }
    Some(())
}
