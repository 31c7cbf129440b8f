//! VP8 (RFC 6386) and VP9 (bitstream specification section 6.2): keyframes, sizes and codec strings.

use super::bits::Bits;
use super::video::reorder_lead;
use crate::event::{VideoCodec, VideoConfig};

/// What the head of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) keyframe: bool,
    /// Width and height; only keyframes have them.
    pub(crate) size: Option<(u32, u32)>,
    profile: u32,
    depth: u32,
}

/// Reads the head of a VP8 frame (RFC 6386 section 9.1).
pub(crate) fn vp8(data: &[u8]) -> Option<Head> {
    let keyframe = data.first()? & 1 == 0;
    if !keyframe {
        return Some(Head { keyframe, size: None, profile: 0, depth: 8 });
    }
    let &[_, _, _, 0x9d, 0x01, 0x2a, a, b, c, d, ..] = data else { return None };
    let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    Some(Head { keyframe, size: Some((side(a, b), side(c, d))), profile: 0, depth: 8 })
}

/// Reads the uncompressed header of a VP9 frame.
pub(crate) fn vp9(data: &[u8]) -> Option<Head> {
    const FRAME_MARKER: u32 = 2;
    const SYNC_CODE: u32 = 0x49_8342;
    const RGB: u32 = 7;
    let mut bits = Bits::new(data);
    bits.read(2).filter(|marker| *marker == FRAME_MARKER)?;
    let profile = bits.read(1)? | bits.read(1)? << 1;
    if profile == 3 {
        bits.flag()?;
    }
    let shown_again = bits.flag()?;
    let other = Head { keyframe: false, size: None, profile, depth: 8 };
    if shown_again || bits.flag()? {
        return Some(other);
    }
    bits.skip(2)?; // show_frame, error_resilient_mode
    bits.read(24).filter(|code| *code == SYNC_CODE)?;
    let depth = match profile {
        0 | 1 => 8,
        _ if bits.flag()? => 12,
        _ => 10,
    };
    let sampled = profile & 1 == 1;
    if bits.read(3)? == RGB {
        if sampled {
            bits.skip(1)?;
        }
    } else {
        bits.skip(if sampled { 4 } else { 1 })?;
    }
    let (width, height) = (bits.read(16)? + 1, bits.read(16)? + 1);
    Some(Head { keyframe: true, size: Some((width, height)), profile, depth })
}

impl Head {
    /// vpcC with its version and flags (VP codec ISO media file format binding), where the frame is a keyframe.
    pub(crate) fn record(&self) -> Option<Vec<u8>> {
        const UNSPECIFIED: u8 = 2;
        let (width, height) = self.size?;
        let small = |value: u32| u8::try_from(value).unwrap_or_default();
        let chroma = if self.profile & 1 == 1 { 3 } else { 1 };
        let format = small(self.depth) << 4 | chroma << 1;
        let level = vp9_level(width * height);
        let colours = [UNSPECIFIED; 3];
        Some([&[1, 0, 0, 0, small(self.profile), level, format][..], &colours, &[0, 0]].concat())
    }

    /// Parameters of the track, where the frame is a keyframe. `level` is that of the container, if it names one.
    pub(crate) fn config(&self, codec: VideoCodec, level: Option<u8>) -> Option<VideoConfig> {
        let (width, height) = self.size.filter(|size| size.0 > 0 && size.1 > 0)?;
        let codec_string = match codec {
            VideoCodec::Vp9 => {
                let level = level.filter(|level| (10..=62).contains(level));
                let level = level.unwrap_or_else(|| vp9_level(width * height));
                format!("vp09.{:02}.{level:02}.{:02}", self.profile, self.depth)
            }
            VideoCodec::H264 | VideoCodec::H265 | VideoCodec::Av1 | VideoCodec::Vp8 => "vp8".to_owned(),
        };
        Some(VideoConfig {
            codec,
            codec_string,
            width,
            height,
            sample_aspect: None,
            framerate: None,
            reorder_frames: 0,
            jitter: reorder_lead(0, None),
        })
    }
}

/// The lowest level that holds pictures of so many pixels (VP9 levels, annex A).
fn vp9_level(pixels: u32) -> u8 {
    const LEVELS: [(u32, u8); 9] = [
        (36_864, 10),
        (73_728, 11),
        (122_880, 20),
        (245_760, 21),
        (552_960, 30),
        (983_040, 31),
        (2_228_224, 40),
        (8_912_896, 50),
        (35_651_584, 60),
    ];
    LEVELS.iter().find(|(most, _)| pixels <= *most).map_or(62, |(_, level)| *level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_vp9_keyframe() {
        // Profile 0, key, shown; colour space 2; 320x180.
        let data = [0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0b, 0x30];
        let head = vp9(&data).unwrap();
        assert_eq!((head.keyframe, head.size), (true, Some((320, 180))));
        let config = head.config(VideoCodec::Vp9, None).unwrap();
        assert_eq!(config.codec_string, "vp09.00.11.08");
        assert_eq!(head.config(VideoCodec::Vp9, Some(10)).unwrap().codec_string, "vp09.00.10.08");
        assert!(!vp9(&[0x86, 0]).unwrap().keyframe);
        assert_eq!(vp9(&[0x42]), None);
    }

    #[test]
    fn reads_a_vp8_keyframe() {
        let head = vp8(&[0x10, 2, 0, 0x9d, 1, 0x2a, 0x40, 0x01, 0xb4, 0]).unwrap();
        assert_eq!(head.size, Some((320, 180)));
        assert_eq!(head.config(VideoCodec::Vp8, None).unwrap().codec_string, "vp8");
        assert!(!vp8(&[0x11]).unwrap().keyframe);
        assert_eq!(vp8(&[0x10, 0, 0, 0]), None);
    }
}
