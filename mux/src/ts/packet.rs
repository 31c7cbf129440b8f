//! The 188-byte transport packet and its adaptation field (H.222.0 2.4.3.2 to 2.4.3.5).

/// Bytes of one transport packet.
pub(crate) const PACKET_BYTES: usize = 188;

/// First byte of every packet.
pub(crate) const SYNC_BYTE: u8 = 0x47;

/// Stuffing packets.
pub(crate) const NULL_PID: u16 = 0x1fff;

/// One parsed packet, borrowing its payload.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) pid: u16,
    /// transport_error_indicator: the sender knows that bits are wrong.
    pub(crate) error: bool,
    pub(crate) unit_start: bool,
    pub(crate) scrambled: bool,
    pub(crate) continuity: u8,
    pub(crate) adaptation: Adaptation,
    /// None when there is only an adaptation field.
    pub(crate) payload: Option<&'a [u8]>,
}

/// What the importer needs of an adaptation field.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Adaptation {
    pub(crate) discontinuity: bool,
    pub(crate) random_access: bool,
    /// In units of 27 MHz.
    pub(crate) pcr: Option<u64>,
    /// Bytes without meaning follow the fields: as a rule the last packet of a PES.
    pub(crate) stuffed: bool,
}

impl<'a> Packet<'a> {
    /// None for a reserved adaptation_field_control or a field that leaves the packet.
    pub(crate) fn parse(bytes: &'a [u8; PACKET_BYTES]) -> Option<Self> {
        let control = bytes[3] >> 4 & 3;
        let mut packet = Self {
            pid: u16::from(bytes[1] & 0x1f) << 8 | u16::from(bytes[2]),
            error: bytes[1] & 0x80 != 0,
            unit_start: bytes[1] & 0x40 != 0,
            scrambled: bytes[3] & 0xc0 != 0,
            continuity: bytes[3] & 0x0f,
            adaptation: Adaptation::default(),
            payload: None,
        };
        let mut body = &bytes[4..];
        if control & 2 != 0 {
            let (field, rest) = body[1..].split_at_checked(usize::from(body[0]))?;
            packet.adaptation = Adaptation::parse(field)?;
            body = rest;
        }
        match control {
            0 => None,
            2 => Some(packet),
            _ if body.is_empty() => None,
            _ => {
                packet.payload = Some(body);
                Some(packet)
            }
        }
    }
}

impl Adaptation {
    /// `field` starts behind the length byte; empty is one byte of stuffing.
    fn parse(field: &[u8]) -> Option<Self> {
        let Some((&flags, mut rest)) = field.split_first() else {
            return Some(Self { stuffed: true, ..Self::default() });
        };
        let mut pcr = None;
        if flags & 0x10 != 0 {
            let (bytes, tail) = rest.split_first_chunk::<6>()?;
            pcr = Some(parse_pcr(*bytes));
            rest = tail;
        }
        if flags & 0x08 != 0 {
            rest = rest.get(6..)?;
        }
        if flags & 0x04 != 0 {
            rest = rest.get(1..)?;
        }
        for flag in [0x02, 0x01] {
            if flags & flag != 0 {
                let (&length, tail) = rest.split_first()?;
                rest = tail.get(usize::from(length)..)?;
            }
        }
        Some(Self {
            discontinuity: flags & 0x80 != 0,
            random_access: flags & 0x40 != 0,
            pcr,
            stuffed: !rest.is_empty(),
        })
    }
}

fn parse_pcr(bytes: [u8; 6]) -> u64 {
    let value = bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
    (value >> 15) * 300 + (value & 0x1ff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(head: &[u8]) -> [u8; PACKET_BYTES] {
        let mut bytes = [0xff; PACKET_BYTES];
        bytes[..head.len()].copy_from_slice(head);
        bytes
    }

    #[test]
    fn first_video_packet_of_ffmpeg() {
        let bytes =
            packet(&[0x47, 0x41, 0x00, 0x30, 0x07, 0x50, 0x00, 0x00, 0x7b, 0x0c, 0x7e, 0x00, 0, 0, 1, 0xe0]);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.pid, packet.continuity, packet.unit_start), (0x100, 0, true));
        assert_eq!(
            packet.adaptation,
            Adaptation { discontinuity: false, random_access: true, pcr: Some(63_000 * 300), stuffed: false }
        );
        assert_eq!(&packet.payload.unwrap()[..4], &[0, 0, 1, 0xe0]);
        assert_eq!(packet.payload.unwrap().len(), 176);
    }

    #[test]
    fn pcr_with_extension_and_a_packet_of_pcr_only() {
        let bytes = packet(&[0x47, 0x01, 0x00, 0x25, 183, 0x10, 0x00, 0x00, 0x7e, 0xc3, 0x7f, 0x20]);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.adaptation.pcr, Some(19_470_888));
        assert!(packet.payload.is_none() && packet.adaptation.stuffed);
    }

    #[test]
    fn reserved_and_overlong_fields_drop_the_packet() {
        for head in [
            &[0x47, 0x01, 0x00, 0x00][..],            // adaptation_field_control 00
            &[0x47, 0x01, 0x00, 0x30, 184],           // longer than the packet
            &[0x47, 0x01, 0x00, 0x30, 183],           // no room for the payload
            &[0x47, 0x01, 0x00, 0x30, 3, 0x10, 0, 0], // PCR of 2 bytes
            &[0x47, 0x01, 0x00, 0x30, 3, 0x02, 9, 0], // private data beyond the field
            &[0x47, 0x01, 0x00, 0x30, 2, 0x05, 0],    // no extension length behind the splice countdown
        ] {
            assert!(Packet::parse(&packet(head)).is_none(), "{head:02x?}");
        }
    }
}
