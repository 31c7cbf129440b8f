//! Handshake bodies and their extensions, HSv5 (draft-sharabayko-srt sections 3.2.1 and 4.3).

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Length of the body without extensions, bytes.
pub const BODY_LEN: usize = 48;

/// Extension field of an induction reply: "this listener speaks HSv5".
pub const MAGIC: u16 = 0x4A17;

/// Version of the handshake that this gateway speaks.
pub const VERSION: u32 = 5;

/// Most bytes of a stream id (libsrt's limit too).
pub const MAX_STREAM_ID: usize = 512;

/// Type field: the first exchange, which leaves no state.
pub const INDUCTION: i32 = 1;
/// Type field: the second exchange.
pub const CONCLUSION: i32 = -1;

/// Flag of the extension field: an HSREQ or HSRSP is attached.
pub const FLAG_HSREQ: u16 = 1;
/// Flag of the extension field: key material is attached.
pub const FLAG_KMREQ: u16 = 2;
/// Flag of the extension field: one of the configuration blocks is attached.
pub const FLAG_CONFIG: u16 = 4;

const EXT_HSREQ: u16 = 1;
const EXT_HSRSP: u16 = 2;
const EXT_KMREQ: u16 = 3;
const EXT_KMRSP: u16 = 4;
const EXT_STREAM_ID: u16 = 5;
const EXT_CONGESTION: u16 = 6;
const EXT_FILTER: u16 = 7;
const EXT_GROUP: u16 = 8;

/// Capability flags of HSREQ and HSRSP.
pub mod flags {
    /// Sends with timestamps.
    pub const TSBPDSND: u32 = 0x01;
    /// Delivers by timestamps.
    pub const TSBPDRCV: u32 = 0x02;
    /// Knows encryption.
    pub const CRYPT: u32 = 0x04;
    /// Drops what is too late.
    pub const TLPKTDROP: u32 = 0x08;
    /// Sends periodic NAKs.
    pub const NAKREPORT: u32 = 0x10;
    /// Marks retransmissions.
    pub const REXMITFLG: u32 = 0x20;
    /// Buffer API, which live mode refuses.
    pub const STREAM: u32 = 0x40;
    /// Knows packet filters.
    pub const FILTER: u32 = 0x80;
    /// What this gateway announces: everything of live mode, no FEC. Without NAKREPORT a libsrt sender resends on
    /// every NAK without a round-trip hold; without TLPKTDROP it never drops late data.
    pub const OURS: u32 = TSBPDSND | TSBPDRCV | CRYPT | TLPKTDROP | NAKREPORT | REXMITFLG;
}

/// A handshake body. Extensions stay raw until the cookie has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// 4 in an induction request, 5 in everything else of HSv5.
    pub version: u32,
    /// Key length / 8, or 0 for "not stated". A caller without `pbkeylen` sends 0 and still attaches a KMREQ.
    pub encryption: u16,
    /// 2, [`MAGIC`] or flags, by step.
    pub extension: u16,
    /// First sequence number, 32 bits as received: a valid one is at most `0x7FFF_FFFE`.
    pub initial_seq: u32,
    /// Largest packet with IP and UDP headers, bytes.
    pub mss: u32,
    /// Most packets in flight.
    pub flow_window: u32,
    /// [`INDUCTION`], [`CONCLUSION`], or 1000 and more for a refusal.
    pub kind: i32,
    /// Socket id of the sender of this body (echoed in an induction reply).
    pub socket_id: u32,
    /// Cookie.
    pub cookie: u32,
    /// Address field, as received. Never trusted.
    pub peer_ip: [u8; 16],
    /// What follows the 48 bytes, for [`Extensions::parse`].
    pub extensions: Bytes,
}

/// The three words of HSREQ and HSRSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HsExtension {
    /// major << 16, minor << 8, patch.
    pub version: u32,
    /// [`flags`].
    pub flags: u32,
    /// Latency for what the sender of this block receives, milliseconds.
    pub receive_latency: u16,
    /// Latency it asks for what it sends, milliseconds.
    pub send_latency: u16,
}

/// Extension blocks of a conclusion, each at most once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extensions {
    /// HSREQ (1).
    pub request: Option<HsExtension>,
    /// HSRSP (2).
    pub response: Option<HsExtension>,
    /// KMREQ (3), for `crypto::KeyMaterial::parse`.
    pub key_request: Option<Bytes>,
    /// KMRSP (4); exactly one word is an error state.
    pub key_response: Option<Bytes>,
    /// SID (5), words put right and padding cut. At most [`MAX_STREAM_ID`] bytes.
    pub stream_id: Option<Vec<u8>>,
    /// Congestion control (6).
    pub congestion: Option<Vec<u8>>,
    /// Packet filter (7).
    pub filter: Option<Vec<u8>>,
    /// Group membership (8), raw.
    pub group: Option<Bytes>,
}

/// What is wrong with a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Body shorter than 48 bytes.
    #[error("handshake shorter than its body")]
    Short,
    /// A block that overruns the datagram, or bytes after the last one.
    #[error("handshake extension overruns the datagram")]
    Overrun,
    /// A block twice.
    #[error("handshake extension {0} appears twice")]
    Duplicate(u16),
    /// A block whose length its type forbids.
    #[error("handshake extension {0} has a wrong length")]
    Length(u16),
    /// A stream id longer than [`MAX_STREAM_ID`].
    #[error("stream id longer than 512 bytes")]
    StreamIdTooLong,
}

impl Handshake {
    /// Reads the body of a handshake packet.
    ///
    /// # Errors
    /// [`HandshakeError::Short`].
    pub fn parse(mut body: Bytes) -> Result<Self, HandshakeError> {
        if body.len() < BODY_LEN {
            return Err(HandshakeError::Short);
        }
        let mut handshake = Self {
            version: body.get_u32(),
            encryption: body.get_u16(),
            extension: body.get_u16(),
            initial_seq: body.get_u32(),
            mss: body.get_u32(),
            flow_window: body.get_u32(),
            kind: body.get_i32(),
            socket_id: body.get_u32(),
            cookie: body.get_u32(),
            peer_ip: [0; 16],
            extensions: Bytes::new(),
        };
        body.copy_to_slice(&mut handshake.peer_ip);
        handshake.extensions = body;
        Ok(handshake)
    }

    /// Body and extensions as the CIF of a handshake packet.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(BODY_LEN + self.extensions.len());
        out.put_u32(self.version);
        out.put_u16(self.encryption);
        out.put_u16(self.extension);
        out.put_u32(self.initial_seq);
        out.put_u32(self.mss);
        out.put_u32(self.flow_window);
        out.put_i32(self.kind);
        out.put_u32(self.socket_id);
        out.put_u32(self.cookie);
        out.put_slice(&self.peer_ip);
        out.put_slice(&self.extensions);
        out.freeze()
    }
}

/// The address field of a handshake: each 32-bit word byte-swapped, IPv4 followed by zeros.
pub fn peer_ip_field(address: std::net::IpAddr) -> [u8; 16] {
    let mut field = [0; 16];
    match address.to_canonical() {
        std::net::IpAddr::V4(v4) => field[..4].copy_from_slice(&v4.octets()),
        std::net::IpAddr::V6(v6) => field = v6.octets(),
    }
    for word in field.as_chunks_mut::<4>().0 {
        word.reverse();
    }
    field
}

impl Extensions {
    /// Reads the blocks after the body; strict, because libsrt's leniency (an overrunning stream id is no stream id)
    /// would let a damaged handshake in under another name.
    ///
    /// # Errors
    /// [`HandshakeError`] for the first block that is not what its type allows. Unknown types are skipped.
    pub fn parse(mut blocks: Bytes) -> Result<Self, HandshakeError> {
        let mut out = Self::default();
        while blocks.has_remaining() {
            let (Ok(kind), Ok(words)) = (blocks.try_get_u16(), blocks.try_get_u16()) else {
                return Err(HandshakeError::Overrun);
            };
            let len = usize::from(words) * 4;
            if len > blocks.len() {
                return Err(HandshakeError::Overrun);
            }
            out.take(kind, blocks.split_to(len))?;
        }
        Ok(out)
    }

    fn take(&mut self, kind: u16, body: Bytes) -> Result<(), HandshakeError> {
        match kind {
            EXT_HSREQ => set(&mut self.request, kind, HsExtension::parse(kind, body)?),
            EXT_HSRSP => set(&mut self.response, kind, HsExtension::parse(kind, body)?),
            EXT_KMREQ => set(&mut self.key_request, kind, body),
            EXT_KMRSP => set(&mut self.key_response, kind, body),
            EXT_STREAM_ID => {
                let id = decode_string(&body);
                if id.len() > MAX_STREAM_ID {
                    return Err(HandshakeError::StreamIdTooLong);
                }
                set(&mut self.stream_id, kind, id)
            }
            EXT_CONGESTION => set(&mut self.congestion, kind, decode_string(&body)),
            EXT_FILTER => set(&mut self.filter, kind, decode_string(&body)),
            EXT_GROUP => set(&mut self.group, kind, body),
            _ => Ok(()),
        }
    }

    /// The blocks in libsrt's order.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        for (kind, block) in [(EXT_HSREQ, &self.request), (EXT_HSRSP, &self.response)] {
            if let Some(hs) = block {
                put_block(&mut out, kind, &hs.to_array());
            }
        }
        for (kind, text) in
            [(EXT_STREAM_ID, &self.stream_id), (EXT_CONGESTION, &self.congestion), (EXT_FILTER, &self.filter)]
        {
            if let Some(text) = text {
                put_block(&mut out, kind, &encode_string(text));
            }
        }
        for (kind, body) in
            [(EXT_GROUP, &self.group), (EXT_KMREQ, &self.key_request), (EXT_KMRSP, &self.key_response)]
        {
            if let Some(body) = body {
                put_block(&mut out, kind, body);
            }
        }
        out.freeze()
    }

    /// The extension field of a conclusion that carries these blocks.
    pub fn field(&self) -> u16 {
        let mut field = 0;
        if self.request.is_some() || self.response.is_some() {
            field |= FLAG_HSREQ;
        }
        if self.key_request.is_some() || self.key_response.is_some() {
            field |= FLAG_KMREQ;
        }
        if self.stream_id.is_some()
            || self.congestion.is_some()
            || self.filter.is_some()
            || self.group.is_some()
        {
            field |= FLAG_CONFIG;
        }
        field
    }
}

impl HsExtension {
    fn parse(kind: u16, mut body: Bytes) -> Result<Self, HandshakeError> {
        // Later versions may append words; fewer than three say nothing.
        if body.len() < 12 {
            return Err(HandshakeError::Length(kind));
        }
        Ok(Self {
            version: body.get_u32(),
            flags: body.get_u32(),
            receive_latency: body.get_u16(),
            send_latency: body.get_u16(),
        })
    }

    fn to_array(self) -> [u8; 12] {
        let mut out = [0; 12];
        out[..4].copy_from_slice(&self.version.to_be_bytes());
        out[4..8].copy_from_slice(&self.flags.to_be_bytes());
        out[8..10].copy_from_slice(&self.receive_latency.to_be_bytes());
        out[10..].copy_from_slice(&self.send_latency.to_be_bytes());
        out
    }
}

fn set<T>(slot: &mut Option<T>, kind: u16, value: T) -> Result<(), HandshakeError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(HandshakeError::Duplicate(kind)),
    }
}

fn put_block(out: &mut BytesMut, kind: u16, body: &[u8]) {
    out.put_u16(kind);
    out.put_u16((body.len() / 4) as u16);
    out.put_slice(body);
}

/// Strings travel with each group of four bytes reversed, zero padded; their length is not sent.
fn decode_string(body: &[u8]) -> Vec<u8> {
    let mut text: Vec<u8> =
        body.as_chunks::<4>().0.iter().flat_map(|word| word.iter().rev().copied()).collect();
    let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    text.truncate(end);
    text
}

fn encode_string(text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    out.resize(text.len().next_multiple_of(4), 0);
    for word in out.as_chunks_mut::<4>().0 {
        word.reverse();
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Recorded from libsrt 1.5.1: induction, its reply, conclusion with a stream id, its reply, conclusion with key
    /// material, refusal for a wrong passphrase, conclusion with a packet filter.
    const RECORDED: &[&str] = &[
        "00000004000000026897b6a3000005dc000020000000000121121b38000000000100007f000000000000000000000000",
        "0000000500004a176897b6a3000005dc000020000000000121121b3834dea1620100007f000000000000000000000000",
        "00000005000000056897b6a3000005dc00002000ffffffff21121b3834dea1620100007f00000000000000000000000000010003\
         00010501000000bf00780078000500063a3a2123696c3d72612f6576703d6d2c696c627500006873",
        "00000005000000016897b6a3000005dc00002000ffffffff2b8d750234dea1620100007f000000000000000000000000000200030\
         0010501000000bf00c800c8",
        "00000005000200072faddee7000005dc00002000ffffffff23ef6bff9967e1320100007f00000000000000000000000000010003\
         00010501000000bf00780000000500026576696c0000612f0003000e12202901000000000200020000000404b32fc7b6131b91a7\
         ebbe8a15a00d3d29b7945f17680a8c6c6da7da28df037130be964e2b1a24b5ed",
        "00000005000400037b7a6bf0000005dc00002000000003f22fd26b7c0ac293a60100007f000000000000000000000000",
        "00000005000000055a6dde31000005dc00002000ffffffff155c28c3b8bc3f730100007f00000000000000000000000000010003\
         00010501000000bf00780000000700052c636566736c6f632c30313a73776f720000353a",
    ];

    fn hex(text: &str) -> Bytes {
        let digits: Vec<u8> = text.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
        digits
            .as_chunks::<2>()
            .0
            .iter()
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16).expect("hex"))
            .collect()
    }

    fn blocks(index: usize) -> Extensions {
        let body = Handshake::parse(hex(RECORDED[index])).expect("body");
        Extensions::parse(body.extensions).expect("blocks")
    }

    #[test]
    fn recorded_handshakes_survive_a_round_trip() {
        for text in RECORDED {
            let handshake = Handshake::parse(hex(text)).expect(text);
            assert_eq!(handshake.to_bytes(), hex(text));
            let extensions = Extensions::parse(handshake.extensions.clone()).expect(text);
            assert_eq!(extensions.to_bytes(), handshake.extensions);
            if handshake.kind == CONCLUSION {
                assert_eq!(extensions.field(), handshake.extension);
            }
        }
    }

    #[test]
    fn recorded_induction_and_reply() {
        let request = Handshake::parse(hex(RECORDED[0])).expect("request");
        assert_eq!((request.version, request.extension, request.kind), (4, 2, INDUCTION));
        assert_eq!((request.mss, request.flow_window, request.cookie), (1500, 8192, 0));
        assert_eq!(request.peer_ip, peer_ip_field("127.0.0.1".parse().expect("address")));
        let reply = Handshake::parse(hex(RECORDED[1])).expect("reply");
        assert_eq!((reply.version, reply.extension, reply.cookie), (5, MAGIC, 0x34de_a162));
        assert_eq!(reply.socket_id, request.socket_id);
    }

    #[test]
    fn recorded_extensions() {
        let sid = blocks(2);
        assert_eq!(sid.stream_id.as_deref(), Some(&b"#!::r=live/a,m=publish"[..]));
        let hs = HsExtension { version: 0x10501, flags: 0xbf, receive_latency: 120, send_latency: 120 };
        assert_eq!(sid.request, Some(hs));
        assert_eq!(blocks(3).response.map(|hs| hs.receive_latency), Some(200));
        let key = blocks(4);
        assert_eq!(key.key_request.map(|km| km.len()), Some(56));
        assert_eq!(key.stream_id.as_deref(), Some(&b"live/a"[..]));
        assert_eq!(blocks(6).filter.as_deref(), Some(&b"fec,cols:10,rows:5"[..]));
    }

    #[test]
    fn damaged_extensions_are_refused() {
        let refuse = |text: &str| Extensions::parse(hex(text)).unwrap_err();
        assert_eq!(refuse("0001"), HandshakeError::Overrun);
        assert_eq!(refuse("00050002 61626364"), HandshakeError::Overrun);
        assert_eq!(refuse("00010002 00010501000000bf"), HandshakeError::Length(1));
        assert_eq!(refuse("00050001 61626364 00050001 61626364"), HandshakeError::Duplicate(5));
        assert_eq!(refuse("00050001 61626364 00"), HandshakeError::Overrun);
        let long = [&[0, 5, 0, 129][..], &[b'a'; 516]].concat();
        assert_eq!(Extensions::parse(long.into()), Err(HandshakeError::StreamIdTooLong));
        assert_eq!(Handshake::parse(hex(&RECORDED[0][..94])), Err(HandshakeError::Short));
        assert_eq!(Extensions::parse(hex("00630001 00000000")), Ok(Extensions::default()));
    }

    proptest! {
        #[test]
        fn strings_survive(text in proptest::collection::vec(1u8..=255, 0..=MAX_STREAM_ID)) {
            let sent = Extensions { stream_id: Some(text), ..Extensions::default() };
            prop_assert_eq!(Extensions::parse(sent.to_bytes()), Ok(sent));
        }

        #[test]
        fn mutated_recordings_never_panic(
            which in 0..RECORDED.len(), at: prop::sample::Index, value: u8, cut: prop::sample::Index,
        ) {
            let mut bytes = hex(RECORDED[which]).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = value;
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Ok(handshake) = Handshake::parse(bytes.into()) {
                let _ = Extensions::parse(handshake.extensions);
            }
        }
    }
}
