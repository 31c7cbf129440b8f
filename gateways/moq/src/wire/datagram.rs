//! Datagrams (05 and later): each stands for a group of one frame.

use bytes::{Bytes, BytesMut};

use super::codec::Reader;
use super::error::DecodeError;
use super::varint;

/// One datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The subscription it answers.
    pub subscribe_id: u64,
    /// The group's sequence, from the same space as groups on streams.
    pub sequence: u64,
    /// Absolute, in units of the track's timescale.
    pub timestamp: u64,
    /// The frame.
    pub payload: Bytes,
}

impl Datagram {
    /// Reads a whole datagram; the payload shares its memory.
    pub fn decode(datagram: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&datagram);
        let (subscribe_id, sequence, timestamp) = (reader.varint()?, reader.varint()?, reader.varint()?);
        let head = datagram.len().saturating_sub(reader.remaining());
        Ok(Self { subscribe_id, sequence, timestamp, payload: datagram.slice(head..) })
    }

    /// The whole datagram.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.payload.len().saturating_add(24));
        varint::put(&mut out, self.subscribe_id);
        varint::put(&mut out, self.sequence);
        varint::put(&mut out, self.timestamp);
        out.extend_from_slice(&self.payload);
        out.freeze()
    }
}
