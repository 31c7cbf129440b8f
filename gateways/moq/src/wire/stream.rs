//! Stream types: the first varint of every stream.

use bytes::{Buf, BytesMut};

use super::varint;
use super::version::Version;

/// A bidirectional stream, by what its opener asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BidiType {
    /// `0x1`: tell me what is announced below a prefix.
    Announce,
    /// `0x2`: send me the groups of a track.
    Subscribe,
    /// `0x3`: send me one group of the past.
    Fetch,
    /// `0x4`: report bitrate and round-trip time.
    Probe,
    /// `0x5`: leave, since 04.
    Goaway,
    /// `0x6`: describe a track, since 05.
    Track,
}

impl BidiType {
    /// The type of an id, if this version has it. An unknown one costs the peer that stream, not the session.
    pub fn from_id(id: u64, version: Version) -> Option<Self> {
        match id {
            0x1 => Some(Self::Announce),
            0x2 => Some(Self::Subscribe),
            0x3 => Some(Self::Fetch),
            0x4 => Some(Self::Probe),
            0x5 if version.has_goaway() => Some(Self::Goaway),
            0x6 if version.has_tracks() => Some(Self::Track),
            _ => None,
        }
    }

    /// What goes on the wire.
    pub const fn id(self) -> u64 {
        match self {
            Self::Announce => 0x1,
            Self::Subscribe => 0x2,
            Self::Fetch => 0x3,
            Self::Probe => 0x4,
            Self::Goaway => 0x5,
            Self::Track => 0x6,
        }
    }

    /// Appends the id.
    pub fn encode(self, out: &mut BytesMut) {
        varint::put(out, self.id());
    }
}

/// A unidirectional stream, by what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UniType {
    /// `0x0`: one group.
    Group,
    /// `0x1`: the sender's SETUP, once, since 05.
    Setup,
}

impl UniType {
    /// The type of an id, if this version has it.
    pub fn from_id(id: u64, version: Version) -> Option<Self> {
        match id {
            0x0 => Some(Self::Group),
            0x1 if version.has_setup() => Some(Self::Setup),
            _ => None,
        }
    }

    /// What goes on the wire.
    pub const fn id(self) -> u64 {
        match self {
            Self::Group => 0x0,
            Self::Setup => 0x1,
        }
    }

    /// Appends the id.
    pub fn encode(self, out: &mut BytesMut) {
        varint::put(out, self.id());
    }
}

/// Takes the stream type off the front of a stream. `None` = more bytes needed.
pub fn take_type(buf: &mut BytesMut) -> Option<u64> {
    let (id, width) = varint::peek(buf)?;
    buf.advance(width);
    Some(id)
}
