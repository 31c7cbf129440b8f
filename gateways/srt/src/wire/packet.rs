//! Packets: the 16-byte header and the control bodies (draft-sharabayko-srt sections 3, 3.1 and 3.2).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Seq;

/// Length of the header of every packet, bytes.
pub const HEADER_LEN: usize = 16;

/// Largest payload in an MTU of 1500: IP 20, UDP 8 and the header are taken off. libsrt uses it for IPv6 too.
pub const MAX_PAYLOAD: usize = 1456;

/// Largest datagram that can be a packet of ours or of a peer.
pub const MAX_DATAGRAM: usize = HEADER_LEN + MAX_PAYLOAD;

/// Bit 31 of word 0.
const CONTROL: u32 = 0x8000_0000;
/// The message number's 26 bits in word 1.
const MESSAGE: u32 = 0x03FF_FFFF;

const TYPE_HANDSHAKE: u16 = 0;
const TYPE_KEEPALIVE: u16 = 1;
const TYPE_ACK: u16 = 2;
const TYPE_NAK: u16 = 3;
const TYPE_CONGESTION: u16 = 4;
const TYPE_SHUTDOWN: u16 = 5;
const TYPE_ACKACK: u16 = 6;
const TYPE_DROP: u16 = 7;
const TYPE_PEER_ERROR: u16 = 8;
const TYPE_EXTENSION: u16 = 0x7FFF;
const SUBTYPE_KMREQ: u16 = 3;
const SUBTYPE_KMRSP: u16 = 4;

/// One packet. Payload and bodies share the datagram's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Media.
    Data(Data),
    /// Everything else.
    Control(Control),
}

/// Which key a payload is encrypted with (the KK bits; 3 is not a data packet).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyParity {
    /// Not encrypted.
    #[default]
    Clear,
    /// The even key.
    Even,
    /// The odd key.
    Odd,
}

/// A data packet. Live mode sends one packet per message, so the position bits are kept but mean nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// Sequence number.
    pub seq: Seq,
    /// PP bits: 3 alone, 2 first, 0 middle, 1 last.
    pub position: u8,
    /// O bit: deliver in order. libsrt sets it in live mode.
    pub in_order: bool,
    /// KK bits.
    pub key: KeyParity,
    /// R bit: this is a retransmission.
    pub retransmitted: bool,
    /// 26-bit message number, from 1; 0 marks a packet of a FEC filter.
    pub message: u32,
    /// Origin time, microseconds since the sender's start, modulo 2^32; the same in a retransmission.
    pub timestamp: u32,
    /// Socket id of the receiver.
    pub destination: u32,
    /// The payload, encrypted unless [`KeyParity::Clear`].
    pub payload: Bytes,
}

/// A control packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Send time, microseconds since the sender's start, modulo 2^32.
    pub timestamp: u32,
    /// Socket id of the receiver; 0 only in a handshake that opens a connection.
    pub destination: u32,
    /// What it says.
    pub body: ControlBody,
}

/// The control types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlBody {
    /// Type 0; the body is for [`super::Handshake::parse`].
    Handshake(Bytes),
    /// Type 1.
    KeepAlive,
    /// Type 2.
    Ack(Ack),
    /// Type 3; the body is for [`super::loss_list::decode`].
    Nak(Bytes),
    /// Type 4, never sent by libsrt.
    CongestionWarning,
    /// Type 5.
    Shutdown,
    /// Type 6: confirms the ACK of this number.
    AckAck(u32),
    /// Type 7: the sender gave these packets up, inclusive.
    DropRequest {
        /// Message number, 0 if unknown.
        message: u32,
        /// First packet that will not come.
        first: Seq,
        /// Last packet that will not come.
        last: Seq,
    },
    /// Type 8, file mode only.
    PeerError(u32),
    /// Type 0x7FFF/3: new key material.
    KeyRequest(Bytes),
    /// Type 0x7FFF/4: the answer to it.
    KeyReply(Bytes),
    /// Anything else: count it, ignore it.
    Unknown {
        /// 15-bit type.
        kind: u16,
        /// 16-bit subtype.
        subtype: u16,
    },
}

/// An ACK of any length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// ACK number; every number but 0 asks for an ACKACK.
    pub number: u32,
    /// First packet **not** yet received.
    pub next: Seq,
    /// Absent in a light ACK.
    pub detail: Option<AckDetail>,
}

/// The link state in a small or full ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AckDetail {
    /// Smoothed round-trip time, microseconds.
    pub rtt: u32,
    /// Its variation, microseconds.
    pub rtt_var: u32,
    /// Free receive buffer, packets.
    pub free: u32,
    /// Absent in a small ACK.
    pub rates: Option<AckRates>,
}

/// The rates of a full ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AckRates {
    /// Receive rate, packets per second.
    pub packets: u32,
    /// Link capacity, packets per second.
    pub capacity: u32,
    /// Receive rate, bytes per second; 0 from peers too old to send it.
    pub bytes: u32,
}

/// Why a datagram is not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than a header.
    #[error("datagram shorter than a header")]
    Short,
    /// A data packet without payload, or with more than fits an MTU.
    #[error("payload length out of range")]
    Payload,
    /// KK = 3, which no data packet may carry.
    #[error("data packet with both key bits")]
    Key,
    /// A control body shorter than its type needs.
    #[error("control body of type {0} too short")]
    Body(u16),
}

impl Packet {
    /// Reads one datagram.
    ///
    /// # Errors
    /// [`PacketError`]; the datagram should be counted and ignored.
    pub fn parse(mut datagram: Bytes) -> Result<Self, PacketError> {
        if datagram.len() < HEADER_LEN {
            return Err(PacketError::Short);
        }
        let words = [datagram.get_u32(), datagram.get_u32(), datagram.get_u32(), datagram.get_u32()];
        if words[0] & CONTROL == 0 {
            Data::from_parts(words, datagram).map(Self::Data)
        } else {
            let body = ControlBody::from_parts(words[0], words[1], datagram)?;
            Ok(Self::Control(Control { timestamp: words[2], destination: words[3], body }))
        }
    }

    /// The destination socket id of a datagram, without parsing the rest. `None` if it is shorter than a header.
    pub fn peek_destination(datagram: &[u8]) -> Option<u32> {
        let word = datagram.get(..HEADER_LEN)?.last_chunk::<4>()?;
        Some(u32::from_be_bytes(*word))
    }

    /// The packet as one datagram.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Data(data) => data.to_bytes(),
            Self::Control(control) => control.to_bytes(),
        }
    }
}

impl Data {
    fn from_parts(words: [u32; 4], payload: Bytes) -> Result<Self, PacketError> {
        if payload.is_empty() || payload.len() > MAX_PAYLOAD {
            return Err(PacketError::Payload);
        }
        let key = match (words[1] >> 27) & 3 {
            0 => KeyParity::Clear,
            1 => KeyParity::Even,
            2 => KeyParity::Odd,
            _ => return Err(PacketError::Key),
        };
        Ok(Self {
            seq: Seq::new(words[0]),
            position: (words[1] >> 30) as u8,
            in_order: words[1] & (1 << 29) != 0,
            key,
            retransmitted: words[1] & (1 << 26) != 0,
            message: words[1] & MESSAGE,
            timestamp: words[2],
            destination: words[3],
            payload,
        })
    }

    /// The 16 bytes before the payload.
    pub fn header(&self) -> [u8; HEADER_LEN] {
        let key = match self.key {
            KeyParity::Clear => 0,
            KeyParity::Even => 1,
            KeyParity::Odd => 2,
        };
        let flags = u32::from(self.position & 3) << 30
            | u32::from(self.in_order) << 29
            | key << 27
            | u32::from(self.retransmitted) << 26
            | self.message & MESSAGE;
        header([self.seq.raw(), flags, self.timestamp, self.destination])
    }

    /// Header and payload as one datagram (copies the payload).
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_LEN + self.payload.len());
        out.put_slice(&self.header());
        out.put_slice(&self.payload);
        out.freeze()
    }
}

impl Control {
    /// The packet as one datagram.
    pub fn to_bytes(&self) -> Bytes {
        let (kind, subtype, argument) = self.body.type_words();
        let mut out = BytesMut::with_capacity(HEADER_LEN + self.body.encoded_len());
        let first = CONTROL | u32::from(kind) << 16 | u32::from(subtype);
        out.put_slice(&header([first, argument, self.timestamp, self.destination]));
        self.body.put(&mut out);
        out.freeze()
    }
}

impl ControlBody {
    fn from_parts(first: u32, argument: u32, mut body: Bytes) -> Result<Self, PacketError> {
        let kind = (first >> 16) as u16 & 0x7FFF;
        let subtype = first as u16;
        let short = PacketError::Body(kind);
        Ok(match (kind, subtype) {
            (TYPE_HANDSHAKE, _) => Self::Handshake(body),
            (TYPE_KEEPALIVE, _) => Self::KeepAlive,
            (TYPE_ACK, _) => Self::Ack(Ack::from_parts(argument, body).ok_or(short)?),
            (TYPE_NAK, _) if body.len() < 4 => return Err(short),
            (TYPE_NAK, _) => Self::Nak(body),
            (TYPE_CONGESTION, _) => Self::CongestionWarning,
            (TYPE_SHUTDOWN, _) => Self::Shutdown,
            (TYPE_ACKACK, _) => Self::AckAck(argument),
            (TYPE_DROP, _) if body.len() < 8 => return Err(short),
            (TYPE_DROP, _) => Self::DropRequest {
                message: argument,
                first: Seq::new(body.get_u32()),
                last: Seq::new(body.get_u32()),
            },
            (TYPE_PEER_ERROR, _) => Self::PeerError(argument),
            (TYPE_EXTENSION, SUBTYPE_KMREQ) => Self::KeyRequest(body),
            (TYPE_EXTENSION, SUBTYPE_KMRSP) => Self::KeyReply(body),
            _ => Self::Unknown { kind, subtype },
        })
    }

    /// Type, subtype and type-specific word.
    fn type_words(&self) -> (u16, u16, u32) {
        match self {
            Self::Handshake(_) => (TYPE_HANDSHAKE, 0, 0),
            Self::KeepAlive => (TYPE_KEEPALIVE, 0, 0),
            Self::Ack(ack) => (TYPE_ACK, 0, ack.number),
            Self::Nak(_) => (TYPE_NAK, 0, 0),
            Self::CongestionWarning => (TYPE_CONGESTION, 0, 0),
            Self::Shutdown => (TYPE_SHUTDOWN, 0, 0),
            Self::AckAck(number) => (TYPE_ACKACK, 0, *number),
            Self::DropRequest { message, .. } => (TYPE_DROP, 0, *message),
            Self::PeerError(code) => (TYPE_PEER_ERROR, 0, *code),
            Self::KeyRequest(_) => (TYPE_EXTENSION, SUBTYPE_KMREQ, 0),
            Self::KeyReply(_) => (TYPE_EXTENSION, SUBTYPE_KMRSP, 0),
            Self::Unknown { kind, subtype } => (*kind & 0x7FFF, *subtype, 0),
        }
    }

    fn encoded_len(&self) -> usize {
        match self {
            Self::Handshake(body) | Self::Nak(body) | Self::KeyRequest(body) | Self::KeyReply(body) => {
                body.len()
            }
            Self::Ack(_) => 28,
            Self::DropRequest { .. } => 8,
            Self::KeepAlive
            | Self::CongestionWarning
            | Self::Shutdown
            | Self::AckAck(_)
            | Self::PeerError(_)
            | Self::Unknown { .. } => 4,
        }
    }

    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Handshake(body) | Self::Nak(body) | Self::KeyRequest(body) | Self::KeyReply(body) => {
                out.put_slice(body);
            }
            Self::Ack(ack) => ack.put(out),
            Self::DropRequest { first, last, .. } => {
                out.put_u32(first.raw());
                out.put_u32(last.raw());
            }
            // libsrt sends one zero word where the draft has no body; peers exist that want it.
            Self::KeepAlive
            | Self::CongestionWarning
            | Self::Shutdown
            | Self::AckAck(_)
            | Self::PeerError(_)
            | Self::Unknown { .. } => out.put_u32(0),
        }
    }
}

impl Ack {
    fn from_parts(number: u32, mut body: Bytes) -> Option<Self> {
        let next = body.try_get_u32().ok()?;
        // Bit 31 set is no packet number.
        if next > Seq::MAX {
            return None;
        }
        let mut word = || body.try_get_u32().ok();
        let detail = match (word(), word(), word()) {
            (None, ..) => None,
            (Some(rtt), Some(rtt_var), Some(free)) => {
                let rates = match (word(), word()) {
                    (Some(packets), Some(capacity)) => {
                        Some(AckRates { packets, capacity, bytes: word().unwrap_or(0) })
                    }
                    _ => None,
                };
                Some(AckDetail { rtt, rtt_var, free, rates })
            }
            _ => return None,
        };
        Some(Self { number, next: Seq::new(next), detail })
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u32(self.next.raw());
        let Some(detail) = self.detail else { return };
        out.put_u32(detail.rtt);
        out.put_u32(detail.rtt_var);
        out.put_u32(detail.free);
        let Some(rates) = detail.rates else { return };
        out.put_u32(rates.packets);
        out.put_u32(rates.capacity);
        out.put_u32(rates.bytes);
    }
}

fn header(words: [u32; 4]) -> [u8; HEADER_LEN] {
    let mut out = [0; HEADER_LEN];
    for (chunk, word) in out.chunks_exact_mut(4).zip(words) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Recorded from libsrt 1.5.1, one of each kind.
    const RECORDED: &[&str] = &[
        "6897b6a3e000000100016d642b8d750247401110",
        "6897b6dee400003c00016e1c2b8d75024701",
        "2faddee7e8000001000172002b582a956140b459",
        "8003000000000000000173e321121b38e897b6de6897b6e0",
        "80030000000000000001746e21121b386897b6f2",
        "80020000000000050005a0de21121b386897b74d0000015f0000009800001fbe00014586000003e805c03b73",
        "8002000000000000000173f921121b386897b6de",
        "80060000000000020002b7062b8d750200000000",
        "8001000000000000000f75501b3cd4f400000000",
        "8005000000000000004aa2632b8d750200000000",
    ];

    fn hex(text: &str) -> Bytes {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
    }

    #[test]
    fn recorded_packets_survive_a_round_trip() {
        for text in RECORDED {
            let packet = Packet::parse(hex(text)).expect(text);
            assert_eq!(packet.to_bytes(), hex(text), "{text}");
        }
    }

    #[test]
    fn recorded_data_and_retransmission() {
        let Ok(Packet::Data(first)) = Packet::parse(hex(RECORDED[0])) else { panic!("data") };
        assert_eq!(first.seq, Seq::new(0x6897_b6a3));
        assert_eq!(
            (first.position, first.in_order, first.key, first.message),
            (3, true, KeyParity::Clear, 1)
        );
        assert_eq!((first.timestamp, first.destination, first.retransmitted), (93_540, 0x2b8d_7502, false));
        assert_eq!(first.payload, hex("47401110"));
        let Ok(Packet::Data(again)) = Packet::parse(hex(RECORDED[1])) else { panic!("data") };
        assert!(again.retransmitted);
        let Ok(Packet::Data(even)) = Packet::parse(hex(RECORDED[2])) else { panic!("data") };
        assert_eq!(even.key, KeyParity::Even);
    }

    #[test]
    fn recorded_full_ack() {
        let Ok(Packet::Control(control)) = Packet::parse(hex(RECORDED[5])) else { panic!("control") };
        let rates = AckRates { packets: 83_334, capacity: 1000, bytes: 96_484_211 };
        let detail = AckDetail { rtt: 351, rtt_var: 152, free: 8126, rates: Some(rates) };
        let ack = Ack { number: 5, next: Seq::new(0x6897_b74d), detail: Some(detail) };
        assert_eq!(control.body, ControlBody::Ack(ack));
    }

    #[test]
    fn short_control_bodies_are_refused() {
        for (text, kind) in [
            ("80020000000000010000000000000001", 2),
            ("800200000000000100000000000000010000", 2),
            ("8002000000000001000000000000000180000000", 2),
            ("800200000000000100000000000000010000000100000001", 2),
            ("80030000000000000000000000000001", 3),
            ("8007000000000000000000000000000100000001", 7),
        ] {
            assert_eq!(Packet::parse(hex(text)), Err(PacketError::Body(kind)), "{text}");
        }
        assert_eq!(Packet::parse(hex("8001")), Err(PacketError::Short));
        assert_eq!(Packet::parse(hex("00000001e00000010000000000000001")), Err(PacketError::Payload));
        assert_eq!(Packet::parse(hex("00000001f8000001000000000000000147")), Err(PacketError::Key));
    }

    #[test]
    fn keepalive_without_a_body_is_accepted() {
        let packet = Packet::parse(hex("80010000000000000000000000000001")).expect("keepalive");
        assert!(matches!(packet, Packet::Control(Control { body: ControlBody::KeepAlive, .. })));
    }

    #[test]
    fn the_payload_can_be_taken_back_for_decryption_in_place() {
        let datagram = BytesMut::from(&hex(RECORDED[2])[..]).freeze();
        let Ok(Packet::Data(data)) = Packet::parse(datagram) else { panic!("data") };
        assert!(data.payload.try_into_mut().is_ok(), "the payload must be the only holder of its datagram");
    }

    proptest! {
        #[test]
        fn mutated_recordings_never_panic(
            which in 0..RECORDED.len(), at: prop::sample::Index, value: u8, cut: prop::sample::Index,
        ) {
            let mut bytes = hex(RECORDED[which]).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = value;
            bytes.truncate(cut.index(bytes.len() + 1));
            let datagram = Bytes::from(bytes);
            if let Ok(packet) = Packet::parse(datagram.clone()) {
                prop_assert_eq!(Packet::peek_destination(&datagram).is_some(), true);
                let again = Packet::parse(packet.to_bytes());
                prop_assert_eq!(again, Ok(packet));
            }
        }

        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Packet::parse(Bytes::from(bytes));
        }
    }
}
