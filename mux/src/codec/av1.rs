//! AV1 (AV1 bitstream specification sections 5.3 to 5.9): OBUs, the sequence header, keyframes.

use super::bits::Bits;
use super::video::reorder_lead;
use crate::event::{VideoCodec, VideoConfig};

/// `obu_type` of a sequence header.
pub(crate) const SEQUENCE_HEADER: u8 = 1;
/// `obu_type` of a temporal delimiter.
pub(crate) const TEMPORAL_DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const FRAME: u8 = 6;
const PADDING: u8 = 15;

/// OBUs that are looked at in one temporal unit: tiles of a frame come in a few groups, metadata in a few more.
const OBUS_MAX: usize = 1024;

/// One open bitstream unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Obu<'a> {
    /// `obu_type`.
    pub(crate) kind: u8,
    /// The first byte as it was, without the size flag.
    header: u8,
    extension: Option<u8>,
    /// What stands behind header and size.
    pub(crate) body: &'a [u8],
}

impl Obu<'_> {
    /// Appends the unit with a size field.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.header | 2);
        out.extend(self.extension);
        write_leb128(self.body.len(), out);
        out.extend_from_slice(self.body);
    }

    /// Header and extension without a size field, as RTP carries them.
    pub(crate) fn bare_header(&self) -> impl Iterator<Item = u8> {
        std::iter::once(self.header).chain(self.extension)
    }
}

/// Takes the first unit of `data` off; one without a size field takes all of it.
pub(crate) fn next_obu<'a>(data: &mut &'a [u8]) -> Option<Obu<'a>> {
    let (&first, mut rest) = data.split_first()?;
    if first & 0x80 != 0 {
        return None;
    }
    let extension = if first & 4 != 0 {
        let (&extension, tail) = rest.split_first()?;
        rest = tail;
        Some(extension)
    } else {
        None
    };
    let size = if first & 2 != 0 { leb128(&mut rest)? } else { rest.len() };
    let (body, tail) = rest.split_at_checked(size)?;
    *data = tail;
    Some(Obu { kind: first >> 3 & 15, header: first & !2, extension, body })
}

/// Appends a number as seven bits per byte.
pub(crate) fn write_leb128(mut value: usize, out: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        out.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return;
        }
    }
}

/// Takes a number of seven bits per byte off.
pub(crate) fn leb128(data: &mut &[u8]) -> Option<usize> {
    let mut value = 0u64;
    for index in 0..8 {
        let (&byte, rest) = data.split_first()?;
        *data = rest;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

/// A temporal unit taken apart: what has to be passed on, and what it is.
#[derive(Debug, Default)]
pub(crate) struct TemporalUnit<'a> {
    /// Without delimiters and padding.
    pub(crate) obus: Vec<Obu<'a>>,
    /// What the first frame header says; `None` when there is none.
    pub(crate) keyframe: Option<bool>,
    /// The sequence header that stands in it.
    pub(crate) sequence: Option<Obu<'a>>,
}

impl<'a> TemporalUnit<'a> {
    /// `None` when the units do not fill `data` exactly, or are too many.
    pub(crate) fn parse(mut data: &'a [u8]) -> Option<Self> {
        let mut unit = Self::default();
        while !data.is_empty() {
            let obu = next_obu(&mut data)?;
            match obu.kind {
                TEMPORAL_DELIMITER | PADDING => continue,
                SEQUENCE_HEADER => unit.sequence = unit.sequence.or(Some(obu)),
                FRAME | FRAME_HEADER if unit.keyframe.is_none() => {
                    // show_existing_frame, then frame_type 0 is a key frame.
                    unit.keyframe = obu.body.first().map(|head| head & 0xe0 == 0);
                }
                _ => {}
            }
            unit.obus.push(obu);
            if unit.obus.len() > OBUS_MAX {
                return None;
            }
        }
        Some(unit)
    }
}

/// The OBUs in `av1C` (AV1 in ISOBMFF section 2.3): 4 bytes and the units, the sequence header first.
pub(crate) fn config_obus(data: &[u8]) -> Option<&[u8]> {
    let &[marker, _, _, _, ref obus @ ..] = data else { return None };
    (marker == 0x81).then_some(obus)
}

/// What `av1C` holds for these parameters.
pub(crate) fn write_config(sequence: &Sequence, obu: &Obu<'_>) -> Vec<u8> {
    let flags = u8::from(sequence.high_tier) << 7
        | u8::from(sequence.depth > 8) << 6
        | u8::from(sequence.depth > 10) << 5
        | u8::from(sequence.monochrome) << 4
        | sequence.subsampling << 2
        | sequence.chroma_position;
    let mut config = vec![0x81, sequence.profile << 5 | sequence.level, flags, 0];
    obu.write(&mut config);
    config
}

/// What a sequence header says (section 5.5).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sequence {
    pub(crate) profile: u8,
    pub(crate) level: u8,
    pub(crate) high_tier: bool,
    pub(crate) depth: u8,
    pub(crate) monochrome: bool,
    /// Horizontally in bit 1, vertically in bit 0.
    pub(crate) subsampling: u8,
    pub(crate) chroma_position: u8,
    width: u32,
    height: u32,
    framerate: Option<f64>,
}

impl Sequence {
    /// Reads the body of a sequence header OBU.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(body);
        let mut sequence = Self { profile: small(bits.read(3)?), ..Self::default() };
        bits.flag()?; // still_picture
        let reduced = bits.flag()?;
        if reduced {
            sequence.level = small(bits.read(5)?);
        } else {
            sequence.operating_points(&mut bits)?;
        }
        let (width_bits, height_bits) = (bits.read(4)? + 1, bits.read(4)? + 1);
        sequence.width = bits.read(width_bits)? + 1;
        sequence.height = bits.read(height_bits)? + 1;
        if !reduced && bits.flag()? {
            bits.skip(7)?; // lengths of frame ids
        }
        bits.skip(3)?;
        if !reduced {
            tools(&mut bits)?;
        }
        bits.skip(3)?; // superres, cdef, restoration
        sequence.colour(&mut bits)?;
        Some(sequence)
    }

    fn operating_points(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        let mut delay_bits = None;
        if bits.flag()? {
            let (tick, scale) = (bits.read(32)?, bits.read(32)?);
            if bits.flag()? {
                let ticks = f64::from(bits.ue()?) + 1.0;
                let rate = f64::from(scale) / (f64::from(tick) * ticks);
                self.framerate = Some(rate).filter(|rate| (1.0..=1000.0).contains(rate));
            }
            if bits.flag()? {
                delay_bits = Some(bits.read(5)? as usize + 1);
                bits.skip(32 + 10)?;
            }
        }
        let displays = bits.flag()?;
        for point in 0..=bits.read(5)? {
            bits.skip(12)?;
            let level = small(bits.read(5)?);
            let high_tier = level > 7 && bits.flag()?;
            if point == 0 {
                (self.level, self.high_tier) = (level, high_tier);
            }
            if let Some(delay_bits) = delay_bits
                && bits.flag()?
            {
                bits.skip(2 * delay_bits + 1)?;
            }
            if displays && bits.flag()? {
                bits.skip(4)?;
            }
        }
        Some(())
    }

    fn colour(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        let high = bits.flag()?;
        self.depth = match (self.profile, high) {
            (2, true) if bits.flag()? => 12,
            (_, true) => 10,
            (_, false) => 8,
        };
        self.monochrome = self.profile != 1 && bits.flag()?;
        let described = if bits.flag()? { bits.read(24)? } else { 0x02_0202 };
        if self.monochrome {
            self.subsampling = 3;
            return Some(());
        }
        // BT.709 primaries with the sRGB curve and the identity matrix is RGB, always 4:4:4.
        if described == 0x01_0d00 {
            return Some(());
        }
        bits.flag()?; // color_range
        self.subsampling = match self.profile {
            0 => 3,
            1 => 0,
            _ if self.depth < 12 => 2,
            _ if bits.flag()? => 2 | u8::from(bits.flag()?),
            _ => 0,
        };
        if self.subsampling == 3 {
            self.chroma_position = small(bits.read(2)?);
        }
        Some(())
    }

    /// Parameters of the track (AV1 in ISOBMFF section 5).
    pub(crate) fn config(&self) -> VideoConfig {
        let tier = if self.high_tier { 'H' } else { 'M' };
        let codec_string = format!("av01.{}.{:02}{tier}.{:02}", self.profile, self.level, self.depth);
        VideoConfig {
            codec: VideoCodec::Av1,
            codec_string,
            width: self.width,
            height: self.height,
            sample_aspect: None,
            framerate: self.framerate,
            reorder_frames: 0,
            jitter: reorder_lead(0, self.framerate),
        }
    }
}

/// Coding tools between the sizes and the colours.
fn tools(bits: &mut Bits<'_>) -> Option<()> {
    bits.skip(4)?;
    let order_hint = bits.flag()?;
    if order_hint {
        bits.skip(2)?;
    }
    let screen_content = if bits.flag()? { 2 } else { bits.read(1)? };
    if screen_content > 0 && !bits.flag()? {
        bits.skip(1)?;
    }
    if order_hint {
        bits.skip(3)?;
    }
    Some(())
}

fn small(value: u32) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As ffmpeg 9 with SVT-AV1 wrote it: 8 bit, 320x180.
    const RECORDED: [u8; 13] = [0x0a, 0x0b, 0x02, 0x00, 0x00, 0x05, 0x21, 0xe7, 0xf6, 0x60, 0x17, 0xc0, 0x02];

    #[test]
    fn reads_a_recorded_sequence_header() {
        let obu = next_obu(&mut &RECORDED[..]).unwrap();
        assert_eq!((obu.kind, obu.body.len()), (SEQUENCE_HEADER, 11));
        let config = Sequence::parse(obu.body).unwrap().config();
        assert_eq!((config.width, config.height), (320, 180));
        assert_eq!(config.codec_string, "av01.0.00M.08");
        let mut written = Vec::new();
        obu.write(&mut written);
        assert_eq!(written, RECORDED);
    }

    #[test]
    fn tells_keyframes_and_drops_delimiters() {
        let data = [&[0x12, 0][..], &RECORDED, &[0x32, 2, 0x10, 0xaa]].concat();
        let unit = TemporalUnit::parse(&data).unwrap();
        assert_eq!((unit.keyframe, unit.obus.len()), (Some(true), 2));
        assert!(unit.sequence.is_some());
        let repeat = TemporalUnit::parse(&[0x12, 0, 0x1a, 1, 0xe8]).unwrap();
        assert_eq!((repeat.keyframe, repeat.obus.len()), (Some(false), 1));
        assert!(TemporalUnit::parse(&[0x32, 9, 0]).is_none());
    }

    proptest! {
        #[test]
        fn survives_anything(data in prop::collection::vec(any::<u8>(), 0..80)) {
            Sequence::parse(&data);
            TemporalUnit::parse(&data);
            crate::codec::vpx::vp9(&data);
            crate::codec::vpx::vp8(&data);
            crate::codec::flac::read_head(&data);
            crate::codec::flac::frame_samples(&data);
        }
    }
}
