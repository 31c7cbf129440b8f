//! VP8 (RFC 7741 section 4).

use bytes::Bytes;

use super::{Depacketiser, Packetiser, Writer, split};

const EXTENDED: u8 = 0x80;
const START: u8 = 0x10;
const PICTURE_ID: u8 = 0x80;
const TL0_PICTURE: u8 = 0x40;
const TEMPORAL: u8 = 0x20;
const KEY_INDEX: u8 = 0x10;
/// The picture id has 15 bits.
const LONG: u8 = 0x80;

/// Joins the payloads of a frame.
#[derive(Debug)]
pub(super) struct Vp8;

/// What stands behind the payload descriptor.
fn content(payload: &[u8]) -> Option<&[u8]> {
    let (&first, mut rest) = payload.split_first()?;
    if first & EXTENDED != 0 {
        let (&present, after) = rest.split_first()?;
        rest = after;
        let mut skip = 0;
        if present & PICTURE_ID != 0 {
            skip += if rest.first()? & LONG != 0 { 2 } else { 1 };
        }
        skip += usize::from(present & TL0_PICTURE != 0);
        skip += usize::from(present & (TEMPORAL | KEY_INDEX) != 0);
        rest = rest.get(skip..)?;
    }
    Some(rest)
}

impl Depacketiser for Vp8 {
    fn begins(&self, payload: &[u8]) -> bool {
        // The start of partition 0.
        payload.first().is_some_and(|first| first & 0x17 == START)
    }

    fn push(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        if out.is_empty() && !self.begins(payload) {
            return Err("rtp_frame_start_missing");
        }
        out.extend_from_slice(content(payload).ok_or("rtp_short")?);
        Ok(())
    }

    fn end(&mut self, _out: &mut Vec<u8>) -> Result<(), &'static str> {
        Ok(())
    }
}

/// Writes descriptors with a picture id of 15 bits.
#[derive(Debug, Default)]
pub(super) struct Descriptor {
    picture: u16,
}

impl Packetiser for Descriptor {
    fn write(&mut self, unit: &Bytes, writer: &mut Writer) {
        const BYTES: usize = 4;
        let [high, low] = self.picture.to_be_bytes();
        self.picture = (self.picture + 1) & 0x7fff;
        let (count, size) = split(unit.len(), writer.most().saturating_sub(BYTES));
        writer.reserve(unit.len() + count * BYTES);
        for (index, piece) in unit.chunks(size.max(1)).enumerate() {
            let start = if index == 0 { START } else { 0 };
            writer.put(&[EXTENDED | start, PICTURE_ID, LONG | high, low]);
            writer.put(piece);
            writer.cut();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 7741 section 4.5.
    #[test]
    fn descriptors_of_the_rfc() {
        let key = [0x90, 0x80, 0x91, 0x11, 0xaa];
        assert_eq!(content(&[0x10, 0x11, 0xaa]), Some(&[0x11, 0xaa][..]), "no extension");
        assert_eq!(content(&[0x90, 0x80, 0x11, 0xaa]), Some(&[0xaa][..]), "7 bits of picture id");
        assert_eq!(content(&key), Some(&[0xaa][..]), "15 bits");
        assert_eq!(content(&[0x80, 0xe0, 0x81, 1, 2, 0x40, 0xbb]), Some(&[0xbb][..]), "layers");
        assert_eq!(content(&[0x80, 0x10, 0x05, 0xbb]), Some(&[0xbb][..]), "key index alone");
        assert_eq!(content(&[0x80, 0x80]), None);
        assert_eq!(content(&[0x80, 0x80, 0x80]), None);
        assert!(Vp8.begins(&key) && !Vp8.begins(&[0x11]) && !Vp8.begins(&[0x00]));
    }

    #[test]
    fn frames_leave_in_even_pieces() {
        let mut descriptor = Descriptor { picture: 0x7fff };
        for head in [[0xff, 0xff], [0x80, 0x00]] {
            let mut writer = Writer::new(8);
            descriptor.write(&Bytes::from_static(&[1, 2, 3, 4, 5]), &mut writer);
            let sent: Vec<_> = writer.finish().collect();
            assert_eq!(sent[0][..], [0x90, 0x80, head[0], head[1], 1, 2, 3]);
            assert_eq!(sent[1][..], [0x80, 0x80, head[0], head[1], 4, 5]);
        }
    }
}
