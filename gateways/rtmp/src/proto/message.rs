//! Messages: their types, how large each may be, and what the control messages say (RTMP 5.4 and 7.1).

use bytes::{Buf, Bytes};

/// Message types.
pub mod kind {
    /// Set Chunk Size.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message.
    pub const ABORT: u8 = 2;
    /// Acknowledgement.
    pub const ACK: u8 = 3;
    /// User Control.
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size.
    pub const WINDOW_ACK: u8 = 5;
    /// Set Peer Bandwidth.
    pub const PEER_BANDWIDTH: u8 = 6;
    /// Audio: the body of an FLV audio tag.
    pub const AUDIO: u8 = 8;
    /// Video: the body of an FLV video tag.
    pub const VIDEO: u8 = 9;
    /// Data in AMF3.
    pub const DATA_AMF3: u8 = 15;
    /// Command in AMF3.
    pub const COMMAND_AMF3: u8 = 17;
    /// Data in AMF0: the body of an FLV script tag.
    pub const DATA: u8 = 18;
    /// Command in AMF0.
    pub const COMMAND: u8 = 20;
    /// Several FLV tags.
    pub const AGGREGATE: u8 = 22;
}

/// Longest video message: an intra picture of 2160p at 100 Mbit/s is a fifth of it.
pub const MAX_VIDEO: usize = 10 << 20;
/// Longest audio message: a second of uncompressed 8-channel sound.
pub const MAX_AUDIO: usize = 1 << 20;
/// Longest data message: metadata with a key frame index.
pub const MAX_DATA: usize = 1 << 20;
/// Longest command, and anything that is only read to be ignored.
pub const MAX_COMMAND: usize = 64 << 10;
/// Longest protocol control message; six bytes have a meaning.
pub const MAX_CONTROL: usize = 1 << 10;

/// Tags in one aggregate message: a second of video and audio.
const MAX_AGGREGATED: usize = 256;
/// Header of an FLV tag.
const TAG_HEADER: usize = 11;
/// The size of the tag before, which follows each tag.
const BACK_POINTER: usize = 4;

/// Most bytes that a message of type `kind` may have.
pub fn max_len(kind: u8) -> usize {
    match kind {
        kind::VIDEO | kind::AGGREGATE => MAX_VIDEO,
        kind::AUDIO => MAX_AUDIO,
        kind::DATA | kind::DATA_AMF3 => MAX_DATA,
        1..=6 => MAX_CONTROL,
        _ => MAX_COMMAND,
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Type, see [`kind`].
    pub kind: u8,
    /// Milliseconds, modulo 2^32.
    pub timestamp: u32,
    /// Message stream id.
    pub stream: u32,
    /// The body, possibly empty.
    pub body: Bytes,
}

impl Message {
    /// Whether it is a protocol control message, types 1 to 6.
    pub fn is_control(&self) -> bool {
        (1..=6).contains(&self.kind)
    }
}

/// A user control message that means something to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserControl {
    /// How much the player holds.
    SetBufferLength {
        /// Message stream id.
        stream: u32,
        /// Milliseconds.
        millis: u32,
    },
    /// To be answered with the same number.
    PingRequest(u32),
    /// The answer.
    PingResponse(u32),
    /// Anything else, or too short.
    Other,
}

impl UserControl {
    /// Reads a body; longer ones than needed are fine.
    pub fn parse(mut body: &[u8]) -> Self {
        if body.len() < 6 {
            return Self::Other;
        }
        match (body.get_u16(), body.get_u32()) {
            (3, stream) if body.len() >= 4 => Self::SetBufferLength { stream, millis: body.get_u32() },
            (6, nonce) => Self::PingRequest(nonce),
            (7, nonce) => Self::PingResponse(nonce),
            _ => Self::Other,
        }
    }
}

/// The 32-bit number that a control message begins with.
pub fn control_number(mut body: &[u8]) -> Option<u32> {
    (body.len() >= 4).then(|| body.get_u32())
}

/// The messages in an aggregate one, with times relative to its own. Stops at what does not fit.
pub fn split_aggregate(aggregate: &Message) -> Vec<Message> {
    let mut body = aggregate.body.clone();
    let (mut tags, mut first) = (Vec::new(), None);
    while body.len() >= TAG_HEADER && tags.len() < MAX_AGGREGATED {
        let mut header = body.split_to(TAG_HEADER);
        let kind = header.get_u8();
        let len = usize::try_from(header.get_uint(3)).unwrap_or(usize::MAX);
        let low = header.get_uint(3) as u32;
        let timestamp = u32::from(header.get_u8()) << 24 | low;
        if len > body.len() {
            break;
        }
        let tag = body.split_to(len);
        body.advance(BACK_POINTER.min(body.len()));
        let offset = timestamp.wrapping_sub(*first.get_or_insert(timestamp));
        tags.push(Message {
            kind,
            timestamp: aggregate.timestamp.wrapping_add(offset),
            stream: aggregate.stream,
            body: tag,
        });
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_control_reads_what_players_send() {
        let set_buffer_length = [0, 3, 0, 0, 0, 1, 0, 0, 0x0b, 0xb8];
        assert_eq!(
            UserControl::parse(&set_buffer_length),
            UserControl::SetBufferLength { stream: 1, millis: 3000 }
        );
        assert_eq!(UserControl::parse(&[0, 6, 0, 0, 1, 2, 99]), UserControl::PingRequest(0x102));
        assert_eq!(UserControl::parse(&[0, 3, 0, 0, 0, 1]), UserControl::Other);
        assert_eq!(UserControl::parse(&[0, 6]), UserControl::Other);
        assert_eq!(UserControl::parse(&[]), UserControl::Other);
    }

    #[test]
    fn an_aggregate_keeps_the_distances_of_its_tags() {
        let mut body = Vec::new();
        for (kind, time, data) in [(9u8, 0x0100_0010u32, &b"video"[..]), (8, 0x0100_0025, b"")] {
            body.push(kind);
            body.extend_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
            body.extend_from_slice(&time.to_be_bytes()[1..]);
            body.push((time >> 24) as u8);
            body.extend_from_slice(&[0; 3]);
            body.extend_from_slice(data);
            body.extend_from_slice(&(data.len() as u32 + 11).to_be_bytes());
        }
        // The rest of a tag that was cut.
        body.extend_from_slice(&[9, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        let aggregate = Message { kind: kind::AGGREGATE, timestamp: u32::MAX, stream: 1, body: body.into() };
        let tags = split_aggregate(&aggregate);
        let seen: Vec<_> = tags.iter().map(|tag| (tag.kind, tag.timestamp, &tag.body[..])).collect();
        assert_eq!(seen, [(9, u32::MAX, &b"video"[..]), (8, 20, b"")]);
    }
}
