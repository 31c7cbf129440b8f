//! AV1 ("RTP Payload Format For AV1" version 1.0, AOM, section 4).

use bytes::Bytes;

use super::{Depacketiser, Packetiser, Writer};
use crate::codec::av1::{SEQUENCE_HEADER, TEMPORAL_DELIMITER, leb128, next_obu, write_leb128};

/// The first element continues that of the packet before.
const CONTINUES: u8 = 0x80;
/// The last element goes on in the next packet.
const CONTINUED: u8 = 0x40;
/// A coded video sequence begins.
const NEW_SEQUENCE: u8 = 0x08;

/// An OBU that goes on for longer is not waited for; the largest pictures stay below.
const OBU_BYTES_MAX: usize = 4 << 20;

/// Joins OBU elements, and gives each OBU its size.
#[derive(Debug, Default)]
pub(super) struct Av1 {
    /// The element that goes on in the next packet.
    fragment: Vec<u8>,
    open: bool,
}

/// The next element, when `left` are still counted; 0 means that all have sizes.
fn element<'a>(rest: &mut &'a [u8], left: u8) -> Option<&'a [u8]> {
    if left == 1 {
        return Some(std::mem::take(rest));
    }
    let size = leb128(rest)?;
    let (element, after) = rest.split_at_checked(size)?;
    *rest = after;
    Some(element)
}

fn write(element: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut rest = element;
    if rest.is_empty() {
        return Ok(());
    }
    let obu = next_obu(&mut rest).filter(|_| rest.is_empty()).ok_or("rtp_obu_invalid")?;
    if obu.kind != TEMPORAL_DELIMITER {
        obu.write(out);
    }
    Ok(())
}

impl Depacketiser for Av1 {
    fn begins(&self, payload: &[u8]) -> bool {
        let Some((&head, mut rest)) = payload.split_first() else { return false };
        let first = element(&mut rest, head >> 4 & 3).and_then(|element| element.first().copied());
        let starts = first.is_some_and(|obu| matches!(obu >> 3 & 15, SEQUENCE_HEADER | TEMPORAL_DELIMITER));
        head & CONTINUES == 0 && (head & NEW_SEQUENCE != 0 || starts)
    }

    fn push(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        let (&head, mut rest) = payload.split_first().ok_or("rtp_short")?;
        if (head & CONTINUES != 0) != self.open {
            return Err(if self.open { "rtp_obu_end_missing" } else { "rtp_obu_start_missing" });
        }
        let mut left = head >> 4 & 3;
        while !rest.is_empty() {
            let element = element(&mut rest, left).ok_or("rtp_obu_cut")?;
            left = left.saturating_sub(1);
            let goes_on = rest.is_empty() && head & CONTINUED != 0;
            if self.open || goes_on {
                self.fragment.extend_from_slice(element);
                self.open = goes_on;
                if self.fragment.len() > OBU_BYTES_MAX {
                    return Err("rtp_obu_too_long");
                }
                if !goes_on {
                    write(&std::mem::take(&mut self.fragment), out)?;
                }
            } else {
                write(element, out)?;
            }
            if left == 0 && head >> 4 & 3 != 0 && !rest.is_empty() {
                return Err("rtp_obu_cut");
            }
        }
        Ok(())
    }

    fn end(&mut self, _out: &mut Vec<u8>) -> Result<(), &'static str> {
        self.fragment = Vec::new();
        if std::mem::take(&mut self.open) { Err("rtp_obu_end_missing") } else { Ok(()) }
    }
}

/// Fills packets with OBUs, each with its length; what does not fit goes on in the next packet.
#[derive(Debug)]
pub(super) struct Aggregation;

/// A fragment is not begun in less room than this.
const FRAGMENT_MIN: usize = 32;

/// Bytes of the longest length that is written: payloads stay below 2^14.
const LENGTH_BYTES: usize = 2;

impl Aggregation {
    /// Begins a payload; its flags are completed as they become known.
    fn begin(writer: &mut Writer, continues: bool, new_sequence: bool) -> usize {
        let flags = if continues { CONTINUES } else { 0 } | if new_sequence { NEW_SEQUENCE } else { 0 };
        let at = writer.open().len();
        writer.put(&[flags]);
        at
    }
}

/// Whether a coded video sequence begins with the unit: with its header, which only keyframes have.
fn is_new_sequence(mut unit: &[u8]) -> bool {
    std::iter::from_fn(|| next_obu(&mut unit)).any(|obu| obu.kind == SEQUENCE_HEADER)
}

impl Packetiser for Aggregation {
    fn write(&mut self, unit: &Bytes, writer: &mut Writer) {
        let mut rest = &unit[..];
        let most = writer.most().clamp(FRAGMENT_MIN, (1 << 14) - 1);
        writer.reserve(unit.len() + unit.len() / 64 + 64);
        let mut head = None;
        let mut fresh = is_new_sequence(unit);
        let mut plain = Vec::new();
        while let Some(obu) = next_obu(&mut rest) {
            if obu.kind == TEMPORAL_DELIMITER {
                continue;
            }
            plain.clear();
            plain.extend(obu.bare_header());
            plain.extend_from_slice(obu.body);
            let mut element = &plain[..];
            let mut continues = false;
            while !element.is_empty() {
                let at =
                    *head.get_or_insert_with(|| Self::begin(writer, continues, std::mem::take(&mut fresh)));
                let room = most.saturating_sub(writer.length() + LENGTH_BYTES);
                if element.len() > room && room < FRAGMENT_MIN && writer.length() > 1 {
                    writer.cut();
                    head = None;
                    continue;
                }
                let (piece, after) = element.split_at(element.len().min(room.max(1)));
                write_leb128(piece.len(), writer.open());
                writer.put(piece);
                element = after;
                if !after.is_empty() {
                    writer.open()[at] |= CONTINUED;
                    continues = true;
                    writer.cut();
                    head = None;
                }
            }
        }
        if head.is_some() {
            writer.cut();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payloads: &[&[u8]]) -> Result<Vec<u8>, &'static str> {
        let (mut av1, mut out) = (Av1::default(), Vec::new());
        for payload in payloads {
            av1.push(payload, &mut out)?;
        }
        av1.end(&mut out)?;
        Ok(out)
    }

    /// The forms of section 4.4: counted elements, elements with sizes, fragments.
    #[test]
    fn elements_as_the_specification_has_them() {
        let expected = [0x0a, 2, 1, 2, 0x32, 1, 9];
        assert_eq!(read(&[&[0x28, 3, 0x08, 1, 2, 0x30, 9]]).unwrap(), expected, "W = 2");
        assert_eq!(read(&[&[0x08, 3, 0x08, 1, 2, 2, 0x30, 9]]).unwrap(), expected, "W = 0");
        assert_eq!(read(&[&[0x18, 0x0a, 2, 1, 2], &[0x10, 0x30, 9]]).unwrap(), expected, "with size fields");
        assert_eq!(read(&[&[0x60, 3, 0x08, 1, 2, 0x30], &[0x90, 9]]).unwrap(), expected, "fragments");
        assert_eq!(read(&[&[0x40, 1, 0x08], &[0xc0, 1, 1], &[0x80, 1, 2, 2, 0x30, 9]]).unwrap(), expected);
        assert_eq!(read(&[&[0x30, 1, 0x10, 3, 0x08, 1, 2, 0x30, 9]]).unwrap(), expected, "a delimiter goes");
        assert_eq!(read(&[&[0x90, 9]]), Err("rtp_obu_start_missing"));
        assert_eq!(read(&[&[0x50, 0x30]]), Err("rtp_obu_end_missing"));
        assert_eq!(read(&[&[0x50, 0x30], &[0x10, 0x30]]), Err("rtp_obu_end_missing"));
        assert_eq!(read(&[&[0x00, 9, 0x30]]), Err("rtp_obu_cut"));
        assert_eq!(read(&[&[0x10, 0x34]]), Err("rtp_obu_invalid"), "an extension that is not there");
        assert!(Av1::default().begins(&[0x18, 0x08]) && Av1::default().begins(&[0x10, 0x08]));
        assert!(!Av1::default().begins(&[0x90, 0x08]) && !Av1::default().begins(&[0x10, 0x30]));
    }

    #[test]
    fn an_obu_does_not_go_on_for_ever() {
        let (mut av1, mut out) = (Av1::default(), Vec::new());
        let first = [&[0x50][..], &[0x30; 1000]].concat();
        let next = [&[0xd0][..], &[0x30; 1000]].concat();
        av1.push(&first, &mut out).unwrap();
        let taken = (0..10_000).take_while(|_| av1.push(&next, &mut out).is_ok()).count();
        assert_eq!(taken + 1, OBU_BYTES_MAX / 1000);
    }

    #[test]
    fn obus_leave_without_size_fields() {
        let unit = Bytes::from_static(&[0x12, 0, 0x0a, 2, 1, 2, 0x32, 1, 9]);
        let mut writer = Writer::new(1200);
        Aggregation.write(&unit, &mut writer);
        let sent: Vec<_> = writer.finish().collect();
        assert_eq!(sent, [&[0x08, 3, 0x08, 1, 2, 2, 0x30, 9][..]]);
    }
}
