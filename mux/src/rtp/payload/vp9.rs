//! VP9 (RFC 9628 section 4).

use bytes::Bytes;

use super::{Depacketiser, Packetiser, Writer, split};
use crate::codec::vpx;

const PICTURE_ID: u8 = 0x80;
const INTER: u8 = 0x40;
const LAYERS: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const BEGIN: u8 = 0x08;
const END: u8 = 0x04;
const STRUCTURE: u8 = 0x02;
/// The picture id has 15 bits.
const LONG: u8 = 0x80;

/// Frames of a superframe: one per spatial layer.
const FRAMES_MAX: usize = 8;

/// Joins the payloads of a picture, and its layers to a superframe.
#[derive(Debug, Default)]
pub(super) struct Vp9 {
    /// Where the frames of the layers end.
    ends: Vec<usize>,
    /// A frame is under way.
    open: bool,
}

/// What stands behind the payload descriptor.
fn content(payload: &[u8]) -> Option<&[u8]> {
    let (&first, mut rest) = payload.split_first()?;
    if first & PICTURE_ID != 0 {
        let size = if rest.first()? & LONG != 0 { 2 } else { 1 };
        rest = rest.get(size..)?;
    }
    if first & LAYERS != 0 {
        let size = if first & FLEXIBLE != 0 { 1 } else { 2 };
        rest = rest.get(size..)?;
    }
    if first & FLEXIBLE != 0 && first & INTER != 0 {
        for index in 0..3 {
            let (&reference, after) = rest.split_first()?;
            rest = after;
            if reference & 1 == 0 {
                break;
            }
            if index == 2 {
                return None; // A fourth reference is forbidden.
            }
        }
    }
    if first & STRUCTURE != 0 { structure(rest) } else { Some(rest) }
}

/// What stands behind the scalability structure (section 4.2.1).
fn structure(rest: &[u8]) -> Option<&[u8]> {
    let (&head, mut rest) = rest.split_first()?;
    if head & 0x10 != 0 {
        rest = rest.get(4 * (usize::from(head >> 5) + 1)..)?;
    }
    if head & 0x08 == 0 {
        return Some(rest);
    }
    let (&pictures, mut rest) = rest.split_first()?;
    for _ in 0..pictures {
        let (&picture, after) = rest.split_first()?;
        rest = after.get(usize::from(picture >> 2 & 3)..)?;
    }
    Some(rest)
}

impl Depacketiser for Vp9 {
    fn begins(&self, payload: &[u8]) -> bool {
        let base = |rest: &[u8]| {
            let id = rest.first().map_or(0, |first| if first & LONG != 0 { 2 } else { 1 });
            // Spatial layer 0.
            rest.get(id).is_some_and(|layer| layer & 0x0e == 0)
        };
        match payload {
            [first, ..] if first & BEGIN == 0 => false,
            [first, rest @ ..] if first & LAYERS != 0 && first & PICTURE_ID != 0 => base(rest),
            [first, layer, ..] if first & LAYERS != 0 => layer & 0x0e == 0,
            [] => false,
            _ => true,
        }
    }

    fn push(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        let content = content(payload).ok_or("rtp_short")?;
        let first = payload[0];
        if (first & BEGIN != 0) == self.open {
            return Err(if self.open { "rtp_frame_end_missing" } else { "rtp_frame_start_missing" });
        }
        out.extend_from_slice(content);
        self.open = first & END == 0;
        if !self.open {
            self.ends.push(out.len());
        }
        if self.ends.len() > FRAMES_MAX { Err("rtp_too_many_layers") } else { Ok(()) }
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let ends = std::mem::take(&mut self.ends);
        if std::mem::take(&mut self.open) {
            return Err("rtp_frame_end_missing");
        }
        if ends.len() > 1 {
            index(&ends, out);
        }
        Ok(())
    }
}

/// Appends a superframe index (VP9 bitstream specification annex B) for frames that end at these places.
fn index(ends: &[usize], out: &mut Vec<u8>) {
    const SIZE_BYTES: u8 = 4;
    let count = u8::try_from(ends.len() - 1).unwrap_or_default();
    let marker = 0xc0 | (SIZE_BYTES - 1) << 3 | count;
    out.push(marker);
    let mut start = 0;
    for &end in ends {
        out.extend(u32::try_from(end - start).unwrap_or_default().to_le_bytes());
        start = end;
    }
    out.push(marker);
}

/// Writes descriptors of the non-flexible mode with a picture id of 15 bits, for streams without layers.
#[derive(Debug, Default)]
pub(super) struct Descriptor {
    picture: u16,
}

impl Packetiser for Descriptor {
    fn write(&mut self, unit: &Bytes, writer: &mut Writer) {
        const BYTES: usize = 3;
        let [high, low] = self.picture.to_be_bytes();
        self.picture = (self.picture + 1) & 0x7fff;
        let inter = if vpx::vp9(unit).is_some_and(|head| head.keyframe) { 0 } else { INTER };
        let (count, size) = split(unit.len(), writer.most().saturating_sub(BYTES));
        writer.reserve(unit.len() + count * BYTES);
        for (number, piece) in unit.chunks(size.max(1)).enumerate() {
            let begin = if number == 0 { BEGIN } else { 0 };
            let end = if number + 1 == count { END } else { 0 };
            writer.put(&[PICTURE_ID | inter | begin | end, LONG | high, low]);
            writer.put(piece);
            writer.cut();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of RFC 9628 section 4.2 in every combination that matters.
    #[test]
    fn descriptors_of_the_rfc() {
        assert_eq!(content(&[0x0c, 0xaa]), Some(&[0xaa][..]), "nothing present");
        assert_eq!(content(&[0x8c, 0x11, 0xaa]), Some(&[0xaa][..]), "7 bits of picture id");
        assert_eq!(content(&[0x8c, 0x91, 0x11, 0xaa]), Some(&[0xaa][..]), "15 bits");
        assert_eq!(content(&[0xac, 0x11, 0x20, 7, 0xaa]), Some(&[0xaa][..]), "layers and TL0PICIDX");
        assert_eq!(content(&[0xbc, 0x11, 0x20, 0xaa]), Some(&[0xaa][..]), "layers, flexible");
        assert_eq!(content(&[0x5c, 0x03, 0x05, 0x06, 0xaa]), Some(&[0xaa][..]), "three references");
        assert_eq!(content(&[0x5c, 0x03, 0x05, 0x07, 0x06, 0xaa]), None, "four");
        let sizes = [0x0e, 0x18, 1, 0x40, 0, 0xb4, 2, 0x04, 9, 0x08, 9, 9, 0xaa];
        assert_eq!(content(&sizes), Some(&[0xaa][..]), "structure with size and pictures");
        for end in 0..sizes.len() - 1 {
            assert_eq!(content(&sizes[..end]), None);
        }
        let vp9 = Vp9::default();
        assert!(vp9.begins(&[0x8c, 0x11]) && !vp9.begins(&[0x84, 0x11]));
        assert!(vp9.begins(&[0xac, 0x11, 0x20, 7]) && !vp9.begins(&[0xac, 0x11, 0x22, 7]));
    }

    #[test]
    fn layers_become_a_superframe() {
        let (mut vp9, mut out) = (Vp9::default(), Vec::new());
        for payload in [&[0x08, 1, 2][..], &[0x04, 3], &[0x0c, 4, 5]] {
            vp9.push(payload, &mut out).unwrap();
        }
        vp9.end(&mut out).unwrap();
        assert_eq!(out, [1, 2, 3, 4, 5, 0xd9, 3, 0, 0, 0, 2, 0, 0, 0, 0xd9]);
    }

    #[test]
    fn frames_leave_in_even_pieces() {
        let mut writer = Writer::new(6);
        Descriptor { picture: 0x1ff }.write(&Bytes::from_static(&[1, 2, 3, 4]), &mut writer);
        let sent: Vec<_> = writer.finish().collect();
        assert_eq!(
            (&sent[0][..], &sent[1][..]),
            (&[0xc8, 0x81, 0xff, 1, 2][..], &[0xc4, 0x81, 0xff, 3, 4][..])
        );
    }
}
