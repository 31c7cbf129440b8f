//! What stands in front of a unit in a transport stream.

use crate::codec::aac::RATES;
use crate::codec::av1::{self, Obu};
use crate::codec::bits::{BitWriter, Bits};
use crate::event::VideoCodec;

/// Access unit delimiters behind their start codes: any slice type.
const DELIMITER_AVC: [u8; 6] = [0, 0, 0, 1, 0x09, 0xf0];
const DELIMITER_HEVC: [u8; 7] = [0, 0, 0, 1, 0x46, 0x01, 0x50];

/// The delimiter that `unit` lacks; receivers cut pictures by it.
pub(super) fn delimiter(codec: VideoCodec, unit: &[u8]) -> &'static [u8] {
    let head = match unit {
        [0, 0, 0, 1, head, ..] | [0, 0, 1, head, ..] => *head,
        _ => 0,
    };
    match codec {
        VideoCodec::H264 if head & 31 != 9 => &DELIMITER_AVC,
        VideoCodec::H265 if head >> 1 & 63 != 35 => &DELIMITER_HEVC,
        VideoCodec::H264 | VideoCodec::H265 | VideoCodec::Av1 | VideoCodec::Vp9 | VideoCodec::Vp8 => &[],
    }
}

/// What an ADTS header needs of an AudioSpecificConfig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Adts {
    profile: u8,
    rate_index: u8,
    channels: u8,
}

impl Adts {
    pub(super) const BYTES: usize = 7;

    /// `None` for object types that ADTS does not know. Band replication is left to the decoder to find, as in every
    /// broadcast.
    pub(super) fn new(config: &[u8]) -> Option<Self> {
        const BAND_REPLICATION: u32 = 5;
        const PARAMETRIC_STEREO: u32 = 29;
        const EXPLICIT_RATE: u32 = 15;
        let mut bits = Bits::new(config);
        let mut object = bits.read(5)?;
        let rate_index = bits.read(4).filter(|index| (*index as usize) < RATES.len())?;
        let channels = bits.read(4).filter(|channels| *channels < 8)?;
        if matches!(object, BAND_REPLICATION | PARAMETRIC_STEREO) {
            if bits.read(4)? == EXPLICIT_RATE {
                bits.skip(24)?;
            }
            object = bits.read(5)?;
        }
        let small = |value: u32| u8::try_from(value).ok();
        (1..=4).contains(&object).then_some(Self {
            profile: small(object - 1)?,
            rate_index: small(rate_index)?,
            channels: small(channels)?,
        })
    }

    /// Hertz at which a frame of 1024 samples counts.
    pub(super) fn rate(&self) -> u32 {
        RATES[usize::from(self.rate_index)]
    }

    /// `None` for frames that are too long.
    pub(super) fn header(&self, length: usize) -> Option<[u8; Self::BYTES]> {
        let length = length + Self::BYTES;
        let fixed = self.profile << 6 | self.rate_index << 2 | self.channels >> 2;
        let high = self.channels << 6 | byte(length >> 11 & 3);
        let low = byte(length << 5 & 0xe0) | 0x1f;
        (length < 1 << 13).then_some([0xff, 0xf1, fixed, high, byte(length >> 3 & 0xff), low, 0xfc])
    }
}

fn byte(value: usize) -> u8 {
    u8::try_from(value).unwrap_or_default()
}

/// The control header of an Opus packet; `trim` samples at its start are not played.
pub(super) fn opus_control(length: usize, trim: Option<u16>) -> Vec<u8> {
    let mut control = vec![0x7f, if trim.is_some() { 0xf0 } else { 0xe0 }];
    let full = length / 255;
    control.resize(2 + full, 0xff);
    control.push(byte(length % 255));
    control.extend(trim.into_iter().flat_map(|trim| (trim & 0x1fff).to_be_bytes()));
    control
}

/// Pre-skip of an OpusHead.
pub(super) fn opus_trim(head: Option<&[u8]>) -> Option<u16> {
    let bytes = head?.get(10..12)?;
    Some(u16::from_le_bytes([bytes[0], bytes[1]])).filter(|trim| *trim > 0)
}

/// Content of the extension descriptor for these channels.
pub(super) fn opus_extension(head: Option<&[u8]>, channels: u32) -> Vec<u8> {
    const EXPLICIT: u8 = 0x81;
    let plain = |count: u8| vec![0x80, count];
    let count = u8::try_from(channels).unwrap_or(2);
    let Some(&[count, _, _, _, _, _, _, _, _, family, ref mapping @ ..]) =
        head.and_then(|head| head.get(9..))
    else {
        return plain(count.clamp(1, 8));
    };
    match (family, mapping) {
        (0, _) => plain(count.clamp(1, 2)),
        (1, _) if (1..=8).contains(&count) => plain(count),
        (255, [2, 0, 0, 1]) if count == 2 => plain(0),
        (_, [streams, coupled, order @ ..]) if order.len() == usize::from(count) => {
            let (streams, coupled) = (u32::from(*streams), u32::from(*coupled));
            let mut bits = BitWriter::default();
            bits.write(streams.saturating_sub(1), width(u32::from(count)));
            bits.write(coupled, width(streams + 1));
            order.iter().for_each(|channel| bits.write(u32::from(*channel), width(streams + coupled + 1)));
            [&[0x80, EXPLICIT, count, family][..], &bits.finish()].concat()
        }
        _ => plain(count.clamp(1, 8)),
    }
}

/// Bits that hold the values below `count`.
fn width(count: u32) -> u32 {
    count.max(1).next_power_of_two().trailing_zeros()
}

/// A temporal unit with a start code in front of each OBU and emulation prevention inside ("Carriage of AV1 in MPEG-2
/// TS", AOM).
pub(super) fn av1_start_codes(mut unit: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(unit.len() + unit.len() / 64 + 64);
    let mut plain = Vec::new();
    while let Some(obu) = av1::next_obu(&mut unit) {
        out.extend([0, 0, 1]);
        escape(&obu, &mut plain, &mut out);
    }
    out
}

fn escape(obu: &Obu<'_>, plain: &mut Vec<u8>, out: &mut Vec<u8>) {
    plain.clear();
    obu.write(plain);
    let mut zeros = 0;
    for &byte in plain.iter() {
        if zeros >= 2 && byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adts_header_like_that_of_ffmpeg() {
        let adts = Adts::new(&[0x11, 0x90, 0x56, 0xe5, 0]).unwrap();
        assert_eq!(adts.header(286).unwrap(), [0xff, 0xf1, 0x4c, 0x80, 0x24, 0xbf, 0xfc]);
        assert_eq!(adts.header(9000), None);
        // HE-AAC: the core's rate and type.
        let core = Adts::new(&[0x2b, 0x11, 0x88, 0]).unwrap();
        assert_eq!((core.rate(), core.profile), (24_000, 1));
        assert_eq!(Adts::new(&[0xff]), None);
    }

    #[test]
    fn opus_headers_like_those_of_ffmpeg() {
        assert_eq!(opus_control(451, Some(312)), [0x7f, 0xf0, 0xff, 0xc4, 0x01, 0x38]);
        assert_eq!(opus_control(300, None), [0x7f, 0xe0, 0xff, 0x2d]);
        assert_eq!(opus_control(255, None), [0x7f, 0xe0, 0xff, 0]);
        let surround = b"OpusHead\x01\x06\x38\x01\x80\xbb\0\0\0\0\x01\x04\x02\0\x04\x01\x02\x03\x05";
        assert_eq!(opus_extension(Some(surround), 2), [0x80, 6]);
        assert_eq!(opus_trim(Some(surround)), Some(312));
        assert_eq!(opus_extension(None, 1), [0x80, 1]);
    }

    #[test]
    fn obus_are_escaped() {
        assert_eq!(av1_start_codes(&[0x32, 4, 0, 0, 1, 9]), [0, 0, 1, 0x32, 4, 0, 0, 3, 1, 9]);
    }
}
