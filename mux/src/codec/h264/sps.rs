//! The sequence parameter set of H.264 (sections 7.3.2.1.1 and E.1.1).

use crate::codec::bits::Bits;
use crate::codec::video::reorder_lead;
use crate::event::{VideoCodec, VideoConfig};

/// Profiles whose sets carry chroma format and scaling matrices.
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// Larger than any picture of level 6.2 in either direction.
const SIDE_MAX: u32 = 16_384;

/// Reordering assumed where nothing is declared: what encoders do by default.
const REORDER_DEFAULT: u8 = 2;

/// Sample aspect ratios 1 to 16 (table E-1, shared with H.265).
const ASPECTS: [(u16, u16); 16] = [
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];

#[derive(Debug)]
pub(super) struct Sps {
    pub(super) id: u8,
    pub(super) frame_num_bits: u32,
    pub(super) frames_only: bool,
    pub(super) separate_planes: bool,
    profile: [u8; 3],
    order_type: u32,
    width: u32,
    height: u32,
    vui: Vui,
}

#[derive(Debug, Default)]
struct Vui {
    aspect: Option<(u16, u16)>,
    framerate: Option<f64>,
    reorder: Option<u8>,
}

impl Sps {
    /// Reads the content of a unit of type 7. Usability information that does not parse counts as absent: encoders
    /// are known that get only this part wrong.
    pub(super) fn parse(rbsp: &[u8]) -> Option<Self> {
        let profile: [u8; 3] = rbsp.get(..3)?.try_into().ok()?;
        let mut bits = Bits::new(&rbsp[3..]);
        let id = bits.ue().filter(|id| *id < super::SPS_IDS)?;
        let chroma =
            if HIGH_PROFILES.contains(&profile[0]) { high_profile(&mut bits)? } else { Chroma::Half };
        let frame_num_bits = bits.ue().filter(|log2| *log2 <= 12)? + 4;
        let order_type = picture_order(&mut bits)?;
        bits.ue()?; // max_num_ref_frames
        bits.flag()?; // gaps_in_frame_num_value_allowed_flag
        let columns = bits.ue()?.checked_add(1)?.checked_mul(16)?;
        let rows = bits.ue()?.checked_add(1)?.checked_mul(16)?;
        let frames_only = bits.flag()?;
        if !frames_only {
            bits.flag()?; // mb_adaptive_frame_field_flag
        }
        bits.flag()?; // direct_8x8_inference_flag
        let (width, height) = crop(&mut bits, columns, rows, frames_only, chroma)?;
        let vui = if bits.flag() == Some(true) { Vui::parse(&mut bits) } else { Vui::default() };
        let id = u8::try_from(id).ok()?;
        let separate_planes = chroma == Chroma::Separate;
        Some(Self {
            id,
            frame_num_bits,
            frames_only,
            separate_planes,
            profile,
            order_type,
            width,
            height,
            vui,
        })
    }

    /// By how many pictures decoding and display order differ at most, where the set says so.
    pub(super) fn reordering(&self) -> Option<u8> {
        // Baseline and picture order type 2 exclude reordering (sections A.2.1 and 7.4.2.1.1).
        let ordered = self.profile[0] == 66 || self.order_type == 2;
        self.vui.reorder.or(ordered.then_some(0))
    }

    /// `ordered`: nothing is reordered where the set leaves it open.
    pub(super) fn config(&self, ordered: bool) -> VideoConfig {
        let [profile, constraints, level] = self.profile;
        let reorder = self.reordering().unwrap_or(if ordered { 0 } else { REORDER_DEFAULT });
        VideoConfig {
            codec: VideoCodec::H264,
            codec_string: format!("avc3.{profile:02x}{constraints:02x}{level:02x}"),
            width: self.width,
            height: self.height,
            sample_aspect: self.vui.aspect,
            framerate: self.vui.framerate,
            reorder_frames: reorder,
            jitter: reorder_lead(reorder, self.vui.framerate),
        }
    }
}

/// Chroma samples per luma sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chroma {
    /// None: monochrome.
    None,
    /// 4:2:0
    Half,
    /// 4:2:2
    Across,
    /// 4:4:4
    Full,
    /// 4:4:4 as three monochrome pictures.
    Separate,
}

/// Chroma format to scaling matrices.
fn high_profile(bits: &mut Bits<'_>) -> Option<Chroma> {
    let chroma = match bits.ue()? {
        0 => Chroma::None,
        1 => Chroma::Half,
        2 => Chroma::Across,
        3 if bits.flag()? => Chroma::Separate,
        3 => Chroma::Full,
        _ => return None,
    };
    bits.ue()?; // bit_depth_luma_minus8
    bits.ue()?; // bit_depth_chroma_minus8
    bits.flag()?; // qpprime_y_zero_transform_bypass_flag
    if bits.flag()? {
        let full = matches!(chroma, Chroma::Full | Chroma::Separate);
        for list in 0..if full { 12 } else { 8 } {
            if bits.flag()? {
                scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(chroma)
}

fn scaling_list(bits: &mut Bits<'_>, size: usize) -> Option<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..size {
        if next != 0 {
            next = last.checked_add(bits.se()?)?.rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

fn picture_order(bits: &mut Bits<'_>) -> Option<u32> {
    let kind = bits.ue().filter(|kind| *kind <= 2)?;
    match kind {
        0 => {
            bits.ue()?;
        }
        1 => {
            bits.flag()?;
            bits.se()?;
            bits.se()?;
            for _ in 0..bits.ue().filter(|cycle| *cycle <= 255)? {
                bits.se()?;
            }
        }
        _ => {}
    }
    Some(kind)
}

fn crop(
    bits: &mut Bits<'_>,
    columns: u32,
    rows: u32,
    frames_only: bool,
    chroma: Chroma,
) -> Option<(u32, u32)> {
    let rows = rows.checked_mul(if frames_only { 1 } else { 2 })?;
    if columns > SIDE_MAX || rows > SIDE_MAX {
        return None;
    }
    if !bits.flag()? {
        return Some((columns, rows));
    }
    let (unit_across, unit_down) = match chroma {
        Chroma::Half => (2, 2),
        Chroma::Across => (2, 1),
        Chroma::None | Chroma::Full | Chroma::Separate => (1, 1),
    };
    let unit_down = if frames_only { unit_down } else { 2 * unit_down };
    let across = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_across)?;
    let down = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_down)?;
    let width = columns.checked_sub(across).filter(|width| *width > 0)?;
    let height = rows.checked_sub(down).filter(|height| *height > 0)?;
    Some((width, height))
}

impl Vui {
    fn parse(bits: &mut Bits<'_>) -> Self {
        let mut vui = Self::default();
        // What was read before the first nonsense stays.
        let _incomplete = vui.read(bits);
        vui
    }

    fn read(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        self.aspect = read_picture_format(bits)?;
        if bits.flag()? {
            self.framerate = read_framerate(bits, 2.0)?;
            bits.flag()?; // fixed_frame_rate_flag
        }
        let mut buffered = false;
        for _ in 0..2 {
            if bits.flag()? {
                buffered = true;
                hypothetical_decoder(bits)?;
            }
        }
        if buffered {
            bits.flag()?; // low_delay_hrd_flag
        }
        bits.flag()?; // pic_struct_present_flag
        if bits.flag()? {
            bits.flag()?; // motion_vectors_over_pic_boundaries_flag
            for _ in 0..4 {
                bits.ue()?;
            }
            let reorder = bits.ue()?;
            let buffering = bits.ue()?;
            self.reorder = u8::try_from(reorder).ok().filter(|_| reorder <= buffering && buffering <= 16);
        }
        Some(())
    }
}

fn hypothetical_decoder(bits: &mut Bits<'_>) -> Option<()> {
    let count = bits.ue().filter(|count| *count < 32)? + 1;
    bits.skip(8)?;
    for _ in 0..count {
        bits.ue()?;
        bits.ue()?;
        bits.flag()?;
    }
    bits.skip(20)
}

/// The start of usability information, alike in H.264 and H.265: gives the sample aspect ratio when it is not 1:1.
pub(in crate::codec) fn read_picture_format(bits: &mut Bits<'_>) -> Option<Option<(u16, u16)>> {
    let mut aspect = None;
    if bits.flag()? {
        aspect = match bits.read(8)? {
            255 => {
                let across = u16::try_from(bits.read(16)?).ok()?;
                Some((across, u16::try_from(bits.read(16)?).ok()?))
            }
            index => ASPECTS.get((index as usize).wrapping_sub(1)).copied(),
        };
    }
    if bits.flag()? {
        bits.flag()?; // overscan_appropriate_flag
    }
    if bits.flag()? {
        bits.skip(4)?; // video_format, video_full_range_flag
        if bits.flag()? {
            bits.skip(24)?;
        }
    }
    if bits.flag()? {
        bits.ue()?;
        bits.ue()?;
    }
    Some(aspect.filter(|(across, down)| across != down && *across != 0 && *down != 0))
}

/// Ticks and time scale; `ticks_per_frame` is 2 where the unit is a field. `Some(None)` for an absurd rate.
pub(in crate::codec) fn read_framerate(bits: &mut Bits<'_>, ticks_per_frame: f64) -> Option<Option<f64>> {
    let ticks = bits.read(32)?;
    let scale = bits.read(32)?;
    let rate = f64::from(scale) / (f64::from(ticks) * ticks_per_frame);
    // Four digits are enough for 29.97 and keep the catalog short.
    let rounded = (rate * 10_000.0).round() / 10_000.0;
    Some((1.0..=1000.0).contains(&rounded).then_some(rounded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::bits::BitWriter;

    struct Writer(BitWriter);

    impl Writer {
        fn ue(&mut self, value: u32) -> &mut Self {
            self.0.ue(value);
            self
        }

        fn bits(&mut self, value: u32, count: u32) -> &mut Self {
            self.0.write(value, count);
            self
        }
    }

    /// 1920x1080 from 1088 coded lines, poc type 0, with a VUI when asked.
    fn set(profile: u32, vui: bool) -> Vec<u8> {
        let mut writer = Writer(BitWriter::default());
        writer.bits(profile, 8).bits(0, 8).bits(40, 8).ue(0);
        if profile == 100 {
            writer.ue(1).ue(0).ue(0).bits(0, 1).bits(0, 1);
        }
        writer.ue(0).ue(0).ue(2).ue(4).bits(0, 1).ue(119).ue(67).bits(1, 1).bits(1, 1);
        writer.bits(1, 1).ue(0).ue(0).ue(0).ue(4);
        writer.bits(u32::from(vui), 1);
        if vui {
            writer.bits(1, 1).bits(255, 8).bits(4, 16).bits(3, 16).bits(0, 3);
            writer.bits(1, 1).bits(1001, 32).bits(60_000, 32).bits(1, 1).bits(0, 2).bits(1, 1);
            writer.bits(1, 1).bits(1, 1).ue(0).ue(0).ue(10).ue(10).ue(2).ue(4);
        }
        writer.bits(1, 1);
        writer.0.finish()
    }

    #[test]
    fn reads_size_rate_and_reordering() {
        let config = Sps::parse(&set(100, true)).unwrap().config(false);
        assert_eq!(config.codec_string, "avc3.640028");
        assert_eq!((config.width, config.height), (1920, 1080));
        assert_eq!(config.framerate, Some(29.97));
        assert_eq!(config.sample_aspect, Some((4, 3)));
        assert_eq!(config.reorder_frames, 2);
    }

    #[test]
    fn line_18_a_broken_vui_does_not_void_the_set() {
        let whole = set(100, true);
        for length in 0..whole.len() {
            if let Some(sps) = Sps::parse(&whole[..length]) {
                assert_eq!((sps.width, sps.height), (1920, 1080));
            }
        }
        assert!(Sps::parse(&whole[..12]).is_some());
    }

    #[test]
    fn baseline_does_not_reorder() {
        assert_eq!(Sps::parse(&set(66, false)).unwrap().config(false).reorder_frames, 0);
        let open = Sps::parse(&set(77, false)).unwrap();
        assert_eq!(open.config(false).reorder_frames, REORDER_DEFAULT);
        assert_eq!(open.config(true).reorder_frames, 0);
    }

    #[test]
    fn line_19_impossible_sizes_are_refused() {
        assert!(Sps::parse(&[66, 0, 30]).is_none());
        let mut writer = Writer(BitWriter::default());
        writer
            .bits(66, 8)
            .bits(0, 8)
            .bits(40, 8)
            .ue(0)
            .ue(0)
            .ue(2)
            .ue(1)
            .bits(0, 1)
            .ue(5000)
            .ue(67)
            .bits(7, 3);
        assert!(Sps::parse(&writer.0.finish()).is_none());
    }
}
