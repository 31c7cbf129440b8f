//! H.264 (RFC 6184 section 5) and H.265 (RFC 7798 section 4): single units, aggregation, fragmentation. The two differ in
//! the length of the unit header and in the numbers of the packet types.

use std::marker::PhantomData;

use bytes::Bytes;

use super::{Depacketiser, Packetiser, Writer, split};
use crate::codec::nal::{self, SHORT_CODE, START_CODE};

/// Supplemental units that are kept in one picture: captions and a time code need a few. Some drones send floods of them
/// on which decoders choke.
const SEI_MAX: usize = 16;

/// What H.264 and H.265 see differently.
pub(super) trait Format: Default + Send {
    /// Bytes of a unit header.
    const HEADER: usize;
    /// Packet type of aggregation: STAP-A, AP.
    const AGGREGATION: u8;
    /// Packet type of fragmentation: FU-A, FU.
    const FRAGMENT: u8;
    /// The type of the unit or packet that begins with these bytes, of which there is at least one.
    fn kind(head: &[u8]) -> u8;
    /// Whether the type is that of a unit in itself; the types that are reserved for packets are not.
    fn is_unit(kind: u8) -> bool;
    /// The header of the unit whose fragment has this payload header and fragment header.
    fn whole_header(payload: &[u8], fragment: u8) -> [u8; 2];
    /// The payload header of fragments or aggregates of units with this header.
    fn packet_header(unit: &[u8], kind: u8) -> [u8; 2];
    /// Supplemental enhancement information.
    fn is_sei(kind: u8) -> bool;
    /// Means nothing in RTP: delimiters, filler.
    fn is_idle(kind: u8) -> bool;
    /// Whether an access unit begins with a unit of this type, whose content begins with `first`.
    fn begins(kind: u8, first: Option<u8>) -> bool;
}

/// H.264.
#[derive(Debug, Default)]
pub(super) struct H264;

impl Format for H264 {
    const HEADER: usize = 1;
    const AGGREGATION: u8 = 24;
    const FRAGMENT: u8 = 28;

    fn kind(head: &[u8]) -> u8 {
        head[0] & 31
    }

    fn is_unit(kind: u8) -> bool {
        (1..24).contains(&kind)
    }

    fn whole_header(payload: &[u8], fragment: u8) -> [u8; 2] {
        [payload[0] & 0xe0 | fragment & 31, 0]
    }

    fn packet_header(unit: &[u8], kind: u8) -> [u8; 2] {
        [unit[0] & 0xe0 | kind, 0]
    }

    fn is_sei(kind: u8) -> bool {
        kind == 6
    }

    fn is_idle(kind: u8) -> bool {
        matches!(kind, 9 | 12)
    }

    fn begins(kind: u8, first: Option<u8>) -> bool {
        match kind {
            // The first slice of a picture starts at macroblock 0, which is a single 1 bit.
            1 | 2 | 5 => first.is_some_and(|first| first & 0x80 != 0),
            _ => matches!(kind, 6..=9 | 14 | 15),
        }
    }
}

/// H.265.
#[derive(Debug, Default)]
pub(super) struct H265;

impl Format for H265 {
    const HEADER: usize = 2;
    const AGGREGATION: u8 = 48;
    const FRAGMENT: u8 = 49;

    fn kind(head: &[u8]) -> u8 {
        head[0] >> 1 & 63
    }

    fn is_unit(kind: u8) -> bool {
        kind < 48
    }

    fn whole_header(payload: &[u8], fragment: u8) -> [u8; 2] {
        [payload[0] & 0x81 | (fragment & 63) << 1, payload[1]]
    }

    fn packet_header(unit: &[u8], kind: u8) -> [u8; 2] {
        [unit[0] & 0x81 | kind << 1, unit[1]]
    }

    fn is_sei(kind: u8) -> bool {
        matches!(kind, 39 | 40)
    }

    fn is_idle(kind: u8) -> bool {
        matches!(kind, 35 | 38)
    }

    fn begins(kind: u8, first: Option<u8>) -> bool {
        match kind {
            // first_slice_segment_in_pic_flag
            0..=31 => first.is_some_and(|first| first & 0x80 != 0),
            _ => matches!(kind, 32..=35 | 39),
        }
    }
}

/// Puts units together, behind start codes.
#[derive(Debug, Default)]
pub(super) struct Nals<F> {
    /// A fragmented unit is under way.
    open: bool,
    sei: usize,
    format: PhantomData<F>,
}

impl<F: Format> Nals<F> {
    fn unit(&mut self, unit: &[u8], out: &mut Vec<u8>) {
        if unit.len() < F::HEADER || F::is_idle(F::kind(unit)) {
            return;
        }
        if F::is_sei(F::kind(unit)) {
            self.sei += 1;
            if self.sei > SEI_MAX {
                return;
            }
        }
        out.extend_from_slice(&START_CODE);
        out.extend_from_slice(unit);
    }

    fn aggregate(&mut self, mut rest: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        while !rest.is_empty() {
            let (unit, after) = split_sized(rest).ok_or("rtp_aggregate_cut")?;
            self.unit(unit, out);
            rest = after;
        }
        Ok(())
    }

    fn fragment(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        const START: u8 = 0x80;
        const END: u8 = 0x40;
        let (&fragment, content) =
            payload.get(F::HEADER..).and_then(<[u8]>::split_first).ok_or("rtp_short")?;
        if (fragment & START != 0) == self.open {
            return Err(if self.open { "rtp_fragment_end_missing" } else { "rtp_fragment_start_missing" });
        }
        if fragment & START != 0 {
            out.extend_from_slice(&START_CODE);
            out.extend_from_slice(&F::whole_header(payload, fragment)[..F::HEADER]);
        }
        out.extend_from_slice(content);
        // Start and end together are forbidden, and mean the obvious.
        self.open = fragment & END == 0;
        Ok(())
    }
}

impl<F: Format> Depacketiser for Nals<F> {
    fn begins(&self, payload: &[u8]) -> bool {
        let begins =
            |unit: &[u8]| unit.len() >= F::HEADER && F::begins(F::kind(unit), unit.get(F::HEADER).copied());
        if payload.len() < F::HEADER {
            return false;
        }
        match F::kind(payload) {
            kind if kind == F::AGGREGATION => {
                split_sized(&payload[F::HEADER..]).is_some_and(|(unit, _)| begins(unit))
            }
            kind if kind == F::FRAGMENT => match payload[F::HEADER..] {
                [fragment, first, ..] if fragment & 0x80 != 0 => {
                    let header = F::whole_header(payload, fragment);
                    F::begins(F::kind(&header), Some(first))
                }
                _ => false,
            },
            _ => begins(payload),
        }
    }

    fn push(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        if payload.len() < F::HEADER {
            return Err("rtp_short");
        }
        let kind = F::kind(payload);
        if kind == F::FRAGMENT {
            return self.fragment(payload, out);
        }
        if self.open {
            return Err("rtp_fragment_end_missing");
        }
        if kind == F::AGGREGATION {
            return self.aggregate(&payload[F::HEADER..], out);
        }
        if !F::is_unit(kind) {
            // Interleaving is not negotiated, and the rest is reserved.
            return Err("rtp_packet_type");
        }
        self.unit(payload, out);
        Ok(())
    }

    fn end(&mut self, _out: &mut Vec<u8>) -> Result<(), &'static str> {
        self.sei = 0;
        if std::mem::take(&mut self.open) { Err("rtp_fragment_end_missing") } else { Ok(()) }
    }
}

fn split_sized(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = data.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))
}

/// Spreads Annex B units over packets.
#[derive(Debug, Default)]
pub(super) struct Split<F>(PhantomData<F>);

impl<F: Format> Split<F> {
    /// Units that follow each other and fit one packet: parameter sets and supplements above all.
    fn group(units: &[Bytes], most: usize) -> usize {
        let mut length = F::HEADER;
        let fits = |unit: &&Bytes| {
            length += 2 + unit.len();
            length <= most && u16::try_from(unit.len()).is_ok()
        };
        units.iter().take_while(fits).count()
    }

    fn aggregate(units: &[Bytes], writer: &mut Writer) {
        // The header stands for all: the highest importance, the lowest layer.
        let head = units
            .iter()
            .max_by_key(|unit| unit[0] & 0x60)
            .map_or([0; 2], |unit| F::packet_header(unit, F::AGGREGATION));
        writer.put(&head[..F::HEADER]);
        for unit in units {
            writer.put(&u16::try_from(unit.len()).unwrap_or_default().to_be_bytes());
            writer.put(unit);
        }
        writer.cut();
    }

    fn fragment(unit: &Bytes, writer: &mut Writer) {
        let head = F::packet_header(unit, F::FRAGMENT);
        let content = &unit[F::HEADER..];
        let (count, size) = split(content.len(), writer.most().saturating_sub(F::HEADER + 1));
        for (index, piece) in content.chunks(size.max(1)).enumerate() {
            let start = if index == 0 { 0x80 } else { 0 };
            let end = if index + 1 == count { 0x40 } else { 0 };
            writer.put(&head[..F::HEADER]);
            writer.put(&[start | end | F::kind(unit)]);
            writer.put(piece);
            writer.cut();
        }
    }
}

impl<F: Format> Packetiser for Split<F> {
    fn write(&mut self, unit: &Bytes, writer: &mut Writer) {
        let units: Vec<Bytes> = units(unit)
            .filter(|unit| unit.len() > F::HEADER && !F::is_idle(F::kind(unit)) && F::is_unit(F::kind(unit)))
            .collect();
        writer.reserve(unit.len() + unit.len() / 16 + 64);
        let mut rest = &units[..];
        while let Some(first) = rest.first() {
            let count = Self::group(rest, writer.most());
            if count > 1 {
                Self::aggregate(&rest[..count], writer);
                rest = &rest[count..];
                continue;
            }
            if first.len() <= writer.most() {
                writer.share(first.clone());
            } else {
                Self::fragment(first, writer);
            }
            rest = &rest[1..];
        }
    }
}

/// The units of an access unit, shared with it.
fn units(data: &Bytes) -> impl Iterator<Item = Bytes> {
    let mut codes = nal::start_codes(data, 0).peekable();
    std::iter::from_fn(move || {
        let start = codes.next()? + SHORT_CODE;
        let end = codes.peek().copied().unwrap_or(data.len());
        let length = nal::trim(&data[start..end]).len();
        Some(data.slice(start..start + length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<F: Format>(payloads: &[&[u8]]) -> Result<Vec<u8>, &'static str> {
        let (mut nals, mut out) = (Nals::<F>::default(), Vec::new());
        for payload in payloads {
            nals.push(payload, &mut out)?;
        }
        nals.end(&mut out)?;
        Ok(out)
    }

    fn write<F: Format>(most: usize, unit: &'static [u8]) -> Vec<Vec<u8>> {
        let mut writer = Writer::new(most);
        Split::<F>::default().write(&Bytes::from_static(unit), &mut writer);
        writer.finish().map(|payload| payload.to_vec()).collect()
    }

    /// Figures 2, 7 and 14 of RFC 6184: a single unit, STAP-A and FU-A.
    #[test]
    fn h264_as_rfc_6184_has_it() {
        assert_eq!(read::<H264>(&[&[0x65, 1, 2]]).unwrap(), [0, 0, 0, 1, 0x65, 1, 2]);
        let stap = [0x78, 0, 2, 0x67, 9, 0, 3, 0x68, 8, 7];
        assert_eq!(read::<H264>(&[&stap]).unwrap(), [0, 0, 0, 1, 0x67, 9, 0, 0, 0, 1, 0x68, 8, 7]);
        let fragments: [&[u8]; 3] = [&[0x7c, 0x85, 1, 2], &[0x7c, 0x05, 3], &[0x7c, 0x45, 4]];
        assert_eq!(read::<H264>(&fragments).unwrap(), [0, 0, 0, 1, 0x65, 1, 2, 3, 4]);
        assert_eq!(read::<H264>(&fragments[1..]), Err("rtp_fragment_start_missing"));
        assert_eq!(read::<H264>(&fragments[..2]), Err("rtp_fragment_end_missing"));
        assert_eq!(read::<H264>(&[fragments[0], fragments[0]]), Err("rtp_fragment_end_missing"));
        assert_eq!(read::<H264>(&[&[0x78, 0, 9, 1]]), Err("rtp_aggregate_cut"));
        assert_eq!(read::<H264>(&[&[0x78, 0]]), Err("rtp_aggregate_cut"));
        assert_eq!(read::<H264>(&[&[0x79, 0, 0, 1]]), Err("rtp_packet_type"), "STAP-B is interleaving");
        assert_eq!(read::<H264>(&[&[0x7c]]), Err("rtp_short"));
    }

    /// Sections 4.4.2 and 4.4.3 of RFC 7798: aggregation and fragmentation.
    #[test]
    fn h265_as_rfc_7798_has_it() {
        assert_eq!(read::<H265>(&[&[0x26, 1, 9]]).unwrap(), [0, 0, 0, 1, 0x26, 1, 9]);
        let aggregate = [0x60, 1, 0, 3, 0x40, 1, 7, 0, 3, 0x42, 1, 8];
        assert_eq!(read::<H265>(&[&aggregate]).unwrap(), [0, 0, 0, 1, 0x40, 1, 7, 0, 0, 0, 1, 0x42, 1, 8]);
        let fragments: [&[u8]; 2] = [&[0x62, 1, 0x93, 1, 2], &[0x62, 1, 0x53, 3]];
        assert_eq!(read::<H265>(&fragments).unwrap(), [0, 0, 0, 1, 0x26, 1, 1, 2, 3]);
        assert_eq!(read::<H265>(&[&[0x64, 1, 0]]), Err("rtp_packet_type"), "PACI");
        assert_eq!(read::<H265>(&[&[0x62]]), Err("rtp_short"));
    }

    #[test]
    fn h264_leaves_in_the_three_forms() {
        let unit =
            b"\0\0\0\x01\x09\xf0\0\0\0\x01\x67\x42\xc0\x1e\0\0\x01\x68\xce\0\0\0\x01\x65\x881234567890";
        let sent = write::<H264>(11, unit);
        assert_eq!(sent[0], b"\x78\0\x04\x67\x42\xc0\x1e\0\x02\x68\xce");
        assert_eq!(sent[1..], [b"\x7c\x85\x8812345".to_vec(), b"\x7c\x4567890".to_vec()]);
        assert_eq!(write::<H264>(1200, b"\0\0\x01\x41\x9a\x01"), [b"\x41\x9a\x01"]);
    }

    #[test]
    fn h265_leaves_in_the_three_forms() {
        let unit =
            b"\0\0\x01\x40\x01\x0c\0\0\x01\x42\x01\x01\0\0\x01\x44\x01\xc1\0\0\x01\x26\x01\xaf123456789";
        let sent = write::<H265>(17, unit);
        assert_eq!(sent[0], b"\x60\x01\0\x03\x40\x01\x0c\0\x03\x42\x01\x01\0\x03\x44\x01\xc1");
        assert_eq!(sent[1], b"\x26\x01\xaf123456789");
        assert_eq!(write::<H265>(9, unit).last().unwrap(), b"\x62\x01\x5356789");
    }

    #[test]
    fn what_begins_a_picture_is_known() {
        let h264 = Nals::<H264>::default();
        assert!(h264.begins(&[0x65, 0x88]) && !h264.begins(&[0x65, 0x08]));
        assert!(h264.begins(&[0x7c, 0x85, 0x88]) && !h264.begins(&[0x7c, 0x05, 0x88]));
        assert!(h264.begins(&[0x78, 0, 1, 0x67]) && h264.begins(&[0x67, 1]) && !h264.begins(&[]));
        let h265 = Nals::<H265>::default();
        assert!(
            h265.begins(&[0x40, 1]) && h265.begins(&[0x62, 1, 0x93, 0x80]) && !h265.begins(&[0x26, 1, 0])
        );
    }

    #[test]
    fn line_68_a_flood_of_sei_leaves_a_picture() {
        let sei: &[u8] = &[6, 5, 1, 0];
        let mut payloads = vec![sei; 5000];
        payloads.push(&[0x41, 0x9a]);
        let unit = read::<H264>(&payloads).unwrap();
        assert_eq!(unit.len(), SEI_MAX * 8 + 6);
        assert!(unit.ends_with(&[0, 0, 0, 1, 0x41, 0x9a]));
    }
}
