//! What a stream of the program map carries: stream_type and descriptors (H.222.0 2.4.4.9 and 2.6, ETSI EN 300 468,
//! ATSC A/53-3, SCTE 35).

use std::sync::Arc;

use super::pes::Class;
use super::psi::{Pmt, PmtStream, descriptors};
use crate::codec::{Coding, OpusLayout};
use crate::event::DataKind;

const REGISTRATION: u8 = 0x05;
const METADATA: u8 = 0x26;
const LANGUAGE: u8 = 0x0a;
const TELETEXT: u8 = 0x56;
const SUBTITLING: u8 = 0x59;
const EXTENSION: u8 = 0x7f;

/// How a stream is carried and what reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamKind {
    pub(crate) coding: Coding,
    pub(crate) carriage: Carriage,
}

/// What is inside the packets of a pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carriage {
    Pes(Class),
    Sections,
}

impl StreamKind {
    /// None for streams that are encrypted sample by sample: they cannot be cut into units without their key.
    pub(crate) fn of(stream: &PmtStream, program: &Pmt) -> Option<Self> {
        let bluray = registration(&program.descriptors) == Some(*b"HDMV");
        Some(match stream.stream_type {
            0x01 | 0x02 | 0x10 | 0x20..=0x23 | 0x25 | 0x33 | 0xd1 | 0xea => {
                Self::pes(Coding::Data(DataKind::Private), Class::Video)
            }
            0x1b => Self::pes(Coding::H264, Class::Video),
            0x24 => Self::pes(Coding::H265, Class::Video),
            0x03 | 0x04 => Self::audio(Coding::MpegAudio),
            0x0f => Self::audio(Coding::AacAdts),
            0x11 => Self::audio(Coding::AacLatm),
            0x81 | 0x87 => Self::audio(Coding::Ac3),
            0x84 if bluray => Self::audio(Coding::Ac3),
            0x06 => Self::of_private(&stream.descriptors),
            0x15 => Self::data(match metadata_format(&stream.descriptors) {
                Some(format) if format == *b"KLVA" => DataKind::KlvSync,
                Some(format) if format == *b"ID3 " => DataKind::Id3,
                _ => DataKind::Private,
            }),
            0x86 if !bluray => Self::sections(DataKind::Scte35),
            0x05 | 0x0a..=0x0d | 0x16 | 0xc0 => Self::sections(DataKind::Private),
            0xc1 | 0xcf | 0xdb => return None,
            _ => Self::data(DataKind::Private),
        })
    }

    /// Something that players show or sound.
    pub(crate) fn is_media(self) -> bool {
        !matches!(self.coding, Coding::Data(_))
    }

    /// Type 06 alone says nothing: the descriptors do, the registration first.
    fn of_private(list: &[u8]) -> Self {
        match registration(list).as_ref() {
            Some(b"Opus") => {
                let layout = descriptors(list).find_map(|(tag, data)| opus_layout(tag, data));
                return match layout {
                    Some(layout) => Self::audio(Coding::Opus(layout)),
                    None => Self::data(DataKind::Private),
                };
            }
            Some(b"AC-3" | b"EAC3") => return Self::audio(Coding::Ac3),
            Some(b"HEVC") => return Self::pes(Coding::H265, Class::Video),
            Some(b"KLVA") => return Self::data(DataKind::Klv),
            Some(b"ID3 ") => return Self::data(DataKind::Id3),
            Some(b"AV01") => return Self::pes(Coding::Data(DataKind::Private), Class::Video),
            Some(_) => return Self::data(DataKind::Private),
            None => {}
        }
        for (tag, _) in descriptors(list) {
            match tag {
                0x6a | 0x7a => return Self::audio(Coding::Ac3),
                TELETEXT => return Self::data(DataKind::Teletext),
                SUBTITLING => return Self::data(DataKind::Subtitle),
                _ => {}
            }
        }
        Self::data(DataKind::Private)
    }

    fn pes(coding: Coding, class: Class) -> Self {
        Self { coding, carriage: Carriage::Pes(class) }
    }

    fn audio(coding: Coding) -> Self {
        Self::pes(coding, Class::Audio)
    }

    fn data(kind: DataKind) -> Self {
        Self::pes(Coding::Data(kind), Class::Data)
    }

    fn sections(kind: DataKind) -> Self {
        Self { coding: Coding::Data(kind), carriage: Carriage::Sections }
    }
}

/// Three lowercase letters of the first descriptor that names a language.
pub(crate) fn language(list: &[u8]) -> Option<Arc<str>> {
    let (_, data) = descriptors(list).find(|(tag, _)| matches!(*tag, LANGUAGE | TELETEXT | SUBTITLING))?;
    let code = data.get(..3)?;
    if !code.iter().all(u8::is_ascii_alphabetic) {
        return None;
    }
    std::str::from_utf8(code).ok().map(|code| code.to_ascii_lowercase().into())
}

fn registration(list: &[u8]) -> Option<[u8; 4]> {
    descriptors(list).find(|(tag, _)| *tag == REGISTRATION)?.1.first_chunk().copied()
}

/// metadata_format_identifier of a metadata descriptor (H.222.0 2.6.60), or the registration.
fn metadata_format(list: &[u8]) -> Option<[u8; 4]> {
    let described = descriptors(list).find_map(|(tag, data)| {
        let (&application, rest) = data.split_first_chunk::<2>().filter(|_| tag == METADATA)?;
        let rest = if application == [0xff, 0xff] { rest.get(4..)? } else { rest };
        let (&format, rest) = rest.split_first()?;
        if format == 0xff { rest.first_chunk().copied() } else { None }
    });
    described.or_else(|| registration(list))
}

/// The Opus audio descriptor: extension tag 80, then channel_config_code.
fn opus_layout(tag: u8, data: &[u8]) -> Option<OpusLayout> {
    let &[0x80, code, ref explicit @ ..] = data else { return None };
    if tag != EXTENSION {
        return None;
    }
    if code != 0x81 {
        return OpusLayout::from_code(code);
    }
    let &[channels, family, ref counts @ ..] = explicit else { return None };
    if family == 0 {
        return OpusLayout::from_code(channels).filter(|layout| matches!(layout.channels, 1 | 2));
    }
    let bits = u32::from_be_bytes([counts.first().copied()?, counts.get(1).copied().unwrap_or(0), 0, 0]);
    let first = ceil_log2(u32::from(channels));
    let streams = bits.checked_shr(32 - first).unwrap_or(0) + 1;
    let second = ceil_log2(streams + 1);
    let coupled = (bits << first).checked_shr(32 - second).unwrap_or(0);
    let (streams, coupled) = (u8::try_from(streams).ok()?, u8::try_from(coupled).ok()?);
    (channels > 0 && coupled <= streams && u16::from(streams) + u16::from(coupled) <= 255)
        .then_some(OpusLayout { channels, family, streams, coupled })
}

/// Bits that hold the values below `count`.
fn ceil_log2(count: u32) -> u32 {
    count.max(1).next_power_of_two().trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::super::psi::Section;
    use super::*;
    use bytes::Bytes;

    fn check(stream_type: u8, list: &'static [u8], program: &'static [u8]) -> Option<StreamKind> {
        let stream = PmtStream { pid: 0x100, stream_type, descriptors: Bytes::from_static(list) };
        let descriptors = Bytes::from_static(program);
        StreamKind::of(
            &stream,
            &Pmt { program: 1, version: 0, pcr_pid: 0x100, descriptors, streams: Vec::new() },
        )
    }

    fn coding(stream_type: u8, list: &'static [u8]) -> Coding {
        check(stream_type, list, b"").unwrap().coding
    }

    #[test]
    fn private_streams_by_descriptor() {
        let stereo = OpusLayout::from_code(2).unwrap();
        assert_eq!(coding(6, b"\x05\x04Opus\x7f\x02\x80\x02"), Coding::Opus(stereo));
        assert_eq!(coding(6, b"\x05\x04AC-3\x6a\x01\x00"), Coding::Ac3);
        assert_eq!(coding(6, b"\x0a\x04eng\x00\x7a\x01\x00"), Coding::Ac3);
        assert_eq!(coding(6, b"\x05\x04KLVA"), Coding::Data(DataKind::Klv));
        assert_eq!(coding(6, b"\x56\x05eng\x08\x88"), Coding::Data(DataKind::Teletext));
        assert_eq!(coding(6, b"\x59\x08eng\x10\x00\x01\x00\x01"), Coding::Data(DataKind::Subtitle));
        assert_eq!(coding(6, b""), Coding::Data(DataKind::Private));
        assert_eq!(coding(6, b"\x05\x04Opus"), Coding::Data(DataKind::Private));
    }

    #[test]
    fn metadata_by_format_identifier() {
        let klv = b"\x26\x09\x01\x00\xffKLVA\x00\x0f\x27\x09\xc0\0\0\xc0\0\0\xc0\0\0";
        assert_eq!(coding(0x15, klv), Coding::Data(DataKind::KlvSync));
        assert_eq!(coding(0x15, b"\x26\x0d\xff\xffID3 \xffID3 \x00\x0f"), Coding::Data(DataKind::Id3));
        assert_eq!(coding(0x15, b"\x26\x02\xff\xff"), Coding::Data(DataKind::Private));
    }

    #[test]
    fn splices_are_sections_unless_the_disc_says_dts() {
        assert_eq!(check(0x86, b"", b"\x05\x04CUEI").unwrap().carriage, Carriage::Sections);
        assert_eq!(check(0x86, b"", b"").unwrap().carriage, Carriage::Sections);
        assert_eq!(check(0x86, b"", b"\x05\x04HDMV").unwrap().carriage, Carriage::Pes(Class::Data));
        assert_eq!(check(0xdb, b"", b""), None);
    }

    #[test]
    fn explicit_opus_layout() {
        // 6 channels, family 1, 4 streams (3 bits: 3), 2 coupled (3 bits).
        let layout = opus_layout(0x7f, &[0x80, 0x81, 6, 1, 0b0110_1000, 0]).unwrap();
        assert_eq!(layout, OpusLayout::from_code(6).unwrap());
        assert!(opus_layout(0x7f, &[0x80, 0x81, 0, 1, 0]).is_none());
        assert!(opus_layout(0x7f, &[0x80, 0x81]).is_none());
        assert!(opus_layout(0x7f, &[0x80, 0x81, 2, 255, 0xff, 0xff]).is_none());
    }

    #[test]
    fn maps_of_ffmpeg() {
        let latm_and_dvb = "02b0390001c10000e100f000 24e100f006050448455643 11e101f000 06e102f009050441432d336a0100 \
             06e103f0090504454143337a0100 8c88d54c";
        let av1_and_mono = "02b0210001c10000e100f000 06e100f000 06e101f00a05044f7075737f028001 ae5c4d04";
        let metadata = "02b03e0001c10000e101f006050443554549 06e101f00605044b4c5641 \
             15e102f01626090100ff4b4c5641000f2709c00000c00000c00000 86e103f000 365c46ad";
        let mono = OpusLayout::from_code(1).unwrap();
        let cases: [(&str, &[Coding]); 3] = [
            (latm_and_dvb, &[Coding::H265, Coding::AacLatm, Coding::Ac3, Coding::Ac3]),
            (av1_and_mono, &[Coding::Data(DataKind::Private), Coding::Opus(mono)]),
            (metadata, &[DataKind::Klv, DataKind::KlvSync, DataKind::Scte35].map(Coding::Data)),
        ];
        for (text, expected) in cases {
            let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
            let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
            let bytes: Vec<u8> = digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
            let pmt = Pmt::parse(&Section::parse(&bytes).unwrap()).unwrap();
            let codings: Vec<_> =
                pmt.streams.iter().map(|stream| StreamKind::of(stream, &pmt).unwrap().coding).collect();
            assert_eq!(codings, expected);
        }
    }

    #[test]
    fn languages() {
        assert_eq!(language(b"\x05\x04AC-3\x0a\x04ENG\x00").as_deref(), Some("eng"));
        assert_eq!(language(b"\x0a\x04\x00\x01\x02\x00"), None);
        assert_eq!(language(b"\x0a\x01e"), None);
    }
}
