//! Decoder configuration records (ISO/IEC 14496-15) and NAL units with lengths in front of them.

use bytes::{Buf, Bytes};

use super::bits::Bits;
use super::nal::{self, PARSED_BYTES_MAX, SHORT_CODE, START_CODE};

/// Parameter sets in one record. Real ones have three; the counts of the format allow 2^24.
const RECORD_SETS_MAX: usize = 256;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NalConfig {
    /// Bytes of the length in front of each unit: 1, 2 or 4 (3 is read too).
    pub(crate) length_size: usize,
    /// Parameter sets, in their order.
    pub(crate) sets: Vec<Bytes>,
}

impl NalConfig {
    /// Reads `avcC` (section 5.3.3.1). `None` for anything that holds no H.264 sets.
    pub(crate) fn avc(mut data: Bytes) -> Option<Self> {
        if data.len() < 6 || data[0] != 1 {
            return None;
        }
        let length_size = usize::from(data[4] & 3) + 1;
        let count = data[5] & 31;
        data.advance(6);
        let mut sets = Vec::new();
        take_sets(&mut data, usize::from(count), &mut sets)?;
        if data.has_remaining() {
            let count = data.get_u8();
            take_sets(&mut data, usize::from(count), &mut sets)?;
        }
        let fits = |set: &Bytes| set.first().is_some_and(|head| matches!(head & 31, 7 | 8 | 13 | 15));
        sets.iter().all(fits).then_some(Self { length_size, sets })
    }

    /// Reads `hvcC` (section 8.3.3.1); SEI messages in it are left out.
    pub(crate) fn hevc(mut data: Bytes) -> Option<Self> {
        const FIXED_BYTES: usize = 23;
        if data.len() < FIXED_BYTES {
            return None;
        }
        let length_size = usize::from(data[21] & 3) + 1;
        let arrays = data[22];
        data.advance(FIXED_BYTES);
        let mut sets = Vec::new();
        for _ in 0..arrays {
            if data.len() < 3 {
                return None;
            }
            let kind = data.get_u8() & 63;
            let count = data.get_u16();
            let mut found = Vec::new();
            take_sets(&mut data, usize::from(count), &mut found)?;
            let fits = |set: &Bytes| set.first().is_some_and(|head| head >> 1 & 63 == kind);
            if (32..=34).contains(&kind) {
                if !found.iter().all(fits) {
                    return None;
                }
                sets.append(&mut found);
            }
        }
        Some(Self { length_size, sets })
    }

    /// The sets behind start codes.
    pub(crate) fn annex_b(&self) -> Vec<u8> {
        self.sets.iter().flat_map(|set| START_CODE.into_iter().chain(set.iter().copied())).collect()
    }
}

fn take_sets(data: &mut Bytes, count: usize, sets: &mut Vec<Bytes>) -> Option<()> {
    for _ in 0..count {
        if data.len() < 2 || sets.len() >= RECORD_SETS_MAX {
            return None;
        }
        let length = usize::from(data.get_u16());
        if length > data.len() {
            return None;
        }
        let set = data.split_to(length);
        if !set.is_empty() {
            sets.push(set);
        }
    }
    Some(())
}

/// Whether `data` is filled exactly by units with lengths of `size` bytes.
pub(crate) fn has_lengths(mut data: &[u8], size: usize) -> bool {
    while !data.is_empty() {
        let Some((_, rest)) = split_unit(data, size) else { return false };
        data = rest;
    }
    true
}

/// Appends the units of `data` behind start codes. False when the last one is cut off.
pub(crate) fn to_annex_b(mut data: &[u8], size: usize, out: &mut Vec<u8>) -> bool {
    while !data.is_empty() {
        let Some((unit, rest)) = split_unit(data, size) else { return false };
        if !unit.is_empty() {
            out.extend_from_slice(&START_CODE);
            out.extend_from_slice(unit);
        }
        data = rest;
    }
    true
}

/// The first byte of each unit.
pub(crate) fn heads(mut data: &[u8], size: usize) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let (unit, rest) = split_unit(data, size)?;
        data = rest;
        Some(unit.first().copied())
    })
    .flatten()
}

fn split_unit(data: &[u8], size: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_at_checked(size)?;
    let length = length.iter().fold(0usize, |length, &byte| length << 8 | usize::from(byte));
    rest.split_at_checked(length)
}

/// The units of an Annex B access unit, without start codes and trailing zeros.
pub(crate) fn units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut codes = nal::start_codes(data, 0).peekable();
    std::iter::from_fn(move || {
        let start = codes.next()? + SHORT_CODE;
        let end = codes.peek().copied().unwrap_or(data.len());
        data.get(start..end).map(nal::trim)
    })
    .filter(|unit| !unit.is_empty())
}

/// `avcC` with lengths of 4 bytes for these sets, the sequence sets first.
pub(crate) fn write_avc(sets: &[&[u8]]) -> Option<Vec<u8>> {
    const WITH_CHROMA: [u8; 4] = [100, 110, 122, 144];
    let of = |kind: u8| sets.iter().filter(move |set| set.first().is_some_and(|head| head & 31 == kind));
    let first = of(7).next()?;
    let &[_, profile, compatibility, level, ..] = *first else { return None };
    let mut record = vec![1, profile, compatibility, level, 0xff];
    record.push(0xe0 | u8::try_from(of(7).count()).ok().filter(|count| *count < 32)?);
    of(7).try_for_each(|set| push_set(&mut record, set))?;
    record.push(u8::try_from(of(8).count()).ok()?);
    of(8).try_for_each(|set| push_set(&mut record, set))?;
    if WITH_CHROMA.contains(&profile) {
        let rbsp = nal::unescape(&first[1..], PARSED_BYTES_MAX);
        let mut bits = Bits::new(rbsp.get(3..)?);
        bits.ue()?;
        let (chroma, luma_depth, chroma_depth) = formats(&mut bits)?;
        record.extend([0xfc | chroma, 0xf8 | luma_depth, 0xf8 | chroma_depth]);
        record.push(u8::try_from(of(13).count()).ok()?);
        of(13).try_for_each(|set| push_set(&mut record, set))?;
    }
    Some(record)
}

/// `hvcC` with lengths of 4 bytes for these sets.
pub(crate) fn write_hevc(sets: &[&[u8]]) -> Option<Vec<u8>> {
    let of = |kind: u8| sets.iter().filter(move |set| set.first().is_some_and(|head| head >> 1 & 63 == kind));
    let rbsp = nal::unescape(of(33).next()?.get(2..)?, PARSED_BYTES_MAX);
    let mut bits = Bits::new(&rbsp);
    bits.skip(4)?;
    let layers = bits.read(3)?;
    let nested = bits.read(1)?;
    let (chroma, luma_depth, chroma_depth) = hevc_formats(&mut bits, layers)?;
    let mut record = vec![1];
    // General profile, tier, compatibility, constraints and level stand in the same form in the set.
    record.extend_from_slice(rbsp.get(1..13)?);
    record.extend([0xf0, 0, 0xfc, 0xfc | chroma, 0xf8 | luma_depth, 0xf8 | chroma_depth, 0, 0]);
    record.push(u8::try_from((layers + 1) << 3 | nested << 2 | 3).ok()?);
    record.push(3);
    for kind in 32..=34 {
        record.push(0x80 | kind);
        record.extend(u16::try_from(of(kind).count()).ok()?.to_be_bytes());
        of(kind).try_for_each(|set| push_set(&mut record, set))?;
    }
    Some(record)
}

fn push_set(record: &mut Vec<u8>, set: &[u8]) -> Option<()> {
    record.extend(u16::try_from(set.len()).ok()?.to_be_bytes());
    record.extend_from_slice(set);
    Some(())
}

/// chroma_format_idc and the bit depths minus 8, which stand behind the set's id in both codings.
fn formats(bits: &mut Bits<'_>) -> Option<(u8, u8, u8)> {
    let chroma = bits.ue().filter(|chroma| *chroma <= 3)?;
    if chroma == 3 {
        bits.flag()?;
    }
    let depths = (bits.ue()?, bits.ue()?);
    Some((small(chroma)?, small(depths.0)?, small(depths.1)?))
}

fn hevc_formats(bits: &mut Bits<'_>, layers: u32) -> Option<(u8, u8, u8)> {
    bits.skip(96)?;
    let present: Vec<_> = (0..layers).map(|_| Some((bits.flag()?, bits.flag()?))).collect::<Option<_>>()?;
    if layers > 0 {
        bits.skip(2 * (8 - layers as usize))?;
    }
    for (profile, level) in present {
        bits.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
    }
    bits.ue()?; // sps_seq_parameter_set_id
    let chroma = bits.ue().filter(|chroma| *chroma <= 3)?;
    if chroma == 3 {
        bits.flag()?;
    }
    bits.ue()?;
    bits.ue()?;
    if bits.flag()? {
        for _ in 0..4 {
            bits.ue()?;
        }
    }
    let depths = (bits.ue()?, bits.ue()?);
    Some((small(chroma)?, small(depths.0)?, small(depths.1)?))
}

fn small(value: u32) -> Option<u8> {
    u8::try_from(value).ok().filter(|value| *value < 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As ffmpeg writes it for x264, High profile.
    const RECORDED: &[u8] = b"\x01\x64\x00\x0d\xff\xe1\x00\x1a\x67\x64\x00\x0d\xac\xd9\x41\x41\x9f\x9f\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x20\xf1\x42\x99\x60\x01\x00\x04\x68\xef\xbc\xb0\xfd\xf8\xf8\x00";

    #[test]
    fn a_recorded_avc_record_survives_the_round_trip() {
        let config = NalConfig::avc(Bytes::from_static(RECORDED)).unwrap();
        assert_eq!((config.length_size, config.sets.len()), (4, 2));
        let sets: Vec<&[u8]> = config.sets.iter().map(|set| &set[..]).collect();
        assert_eq!(write_avc(&sets).unwrap(), RECORDED);
        for end in 0..RECORDED.len() {
            NalConfig::avc(Bytes::from_static(&RECORDED[..end]));
        }
    }

    #[test]
    fn h265_sets_are_no_h264_sets() {
        let mut record = vec![0; 23];
        record[0] = 1;
        record[22] = 1;
        record.extend([0x20, 0, 1, 0, 3, 0x40, 1, 9]);
        assert_eq!(NalConfig::hevc(record.clone().into()).unwrap().sets, [&[0x40, 1, 9][..]]);
        record[23] = 0x21;
        assert_eq!(NalConfig::hevc(record.into()), None);
    }

    #[test]
    fn lengths_become_start_codes() {
        let mut out = Vec::new();
        assert!(to_annex_b(&[0, 2, 9, 1, 0, 0, 0, 1, 7], 2, &mut out));
        assert_eq!(out, [0, 0, 0, 1, 9, 1, 0, 0, 0, 1, 7]);
        assert_eq!(units(&out).collect::<Vec<_>>(), [&[9, 1][..], &[7]]);
        assert!(!to_annex_b(&[0, 9, 1], 2, &mut out));
        assert!(has_lengths(&[1, 7], 1) && !has_lengths(&[0, 0, 0, 1, 0x67, 1, 2], 4));
    }
}
