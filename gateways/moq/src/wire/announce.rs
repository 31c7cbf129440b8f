//! ANNOUNCE_REQUEST, ANNOUNCE_OK and announcements.

use bytes::{BufMut, BytesMut};

use super::codec::{MESSAGE_LEN_MAX, Message, Reader, put_message, put_string, take_message, take_typed};
use super::error::DecodeError;
use super::varint;
use super::version::Version;

/// Most hops in one route: the limit of the released peers.
pub const HOPS_MAX: u64 = 32;

/// Asks what is announced below a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnnounceRequest {
    /// Path relative to the session's root, not yet normalised.
    pub prefix: String,
    /// Routes through this hop are not wanted; 0 = none. Only on the wire in 04 and 05.
    pub exclude_hop: u64,
}

impl Message for AnnounceRequest {
    fn decode(buf: &mut BytesMut, version: Version) -> Result<Option<Self>, DecodeError> {
        take_message(buf, MESSAGE_LEN_MAX, |reader| {
            let prefix = reader.name()?;
            let exclude_hop = if version.has_exclude_hop() { reader.varint()? } else { 0 };
            Ok(Self { prefix, exclude_hop })
        })
    }

    fn encode(&self, out: &mut BytesMut, version: Version) {
        put_message(out, |body| {
            put_string(body, &self.prefix);
            if version.has_exclude_hop() {
                varint::put(body, self.exclude_hop);
            }
        });
    }
}

/// Begins the reply (05 and later).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnounceOk {
    /// The sender's hop id, which the receiver appends to every route; 0 = anonymous.
    pub hop: u64,
    /// How many announcements make up the initial set.
    pub active: u64,
}

impl Message for AnnounceOk {
    fn decode(buf: &mut BytesMut, _: Version) -> Result<Option<Self>, DecodeError> {
        take_message(buf, MESSAGE_LEN_MAX, |reader| {
            Ok(Self { hop: reader.varint()?, active: reader.varint()? })
        })
    }

    fn encode(&self, out: &mut BytesMut, _: Version) {
        put_message(out, |body| {
            varint::put(body, self.hop);
            varint::put(body, self.active);
        });
    }
}

/// How an announced broadcast is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Hop ids, the original publisher first; 0 = anonymous, and all there is on 03, which only counts them.
    pub hops: Vec<u64>,
    /// Cost where the content is already flowing. Not on the wire before 06, and then 0.
    pub warm: u64,
    /// Cost where it has yet to be pulled. Not on the wire before 06, and then the largest there is.
    pub cold: u64,
}

impl Route {
    /// A route without a cost: 0 and the largest there is, as peers before 06 are read.
    pub fn from_hops(hops: Vec<u64>) -> Self {
        Self { hops, warm: 0, cold: varint::MAX }
    }

    fn parse(reader: &mut Reader<'_>, version: Version) -> Result<Self, DecodeError> {
        let count = reader.varint()?;
        if count > HOPS_MAX {
            return Err(DecodeError::TooLarge { length: count, max: HOPS_MAX });
        }
        let mut route = Self::from_hops(Vec::new());
        for _ in 0..count {
            let hop = if version.has_hop_ids() { reader.varint()? } else { 0 };
            if hop != 0 && route.hops.contains(&hop) {
                return Err(DecodeError::Invalid("repeated hop"));
            }
            route.hops.push(hop);
        }
        if version.has_typed_announce() {
            (route.warm, route.cold) = (reader.varint()?, reader.varint()?);
        }
        Ok(route)
    }

    fn put(&self, out: &mut BytesMut, version: Version) {
        put_hops(out, &self.hops, version);
        if version.has_typed_announce() {
            varint::put(out, self.warm);
            varint::put(out, self.cold);
        }
    }
}

fn put_hops(out: &mut BytesMut, hops: &[u64], version: Version) {
    varint::put(out, hops.len() as u64);
    if version.has_hop_ids() {
        for hop in hops {
            varint::put(out, *hop);
        }
    }
}

/// One announcement as it is on the wire. [`super::Announced`] and [`super::Announcing`] keep the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announcement {
    /// A broadcast is there; on 05 also: its route changed.
    Start {
        /// Its path below the requested prefix.
        suffix: String,
        /// How it is reached.
        route: Route,
    },
    /// It is gone (03 to 05).
    End {
        /// Its path below the requested prefix.
        suffix: String,
    },
    /// Its route changed (05, and only read: peers send [`Self::Start`] again).
    Restart {
        /// Its path below the requested prefix.
        suffix: String,
        /// How it is reached now.
        route: Route,
    },
    /// It is gone (06).
    EndId {
        /// Which [`Self::Start`] of this stream, counting from 0.
        id: u64,
    },
    /// Its route changed (06).
    RestartId {
        /// Which [`Self::Start`] of this stream, counting from 0.
        id: u64,
        /// How it is reached now.
        route: Route,
    },
    /// A type we do not know (06): skipped, and no id is taken by it.
    Unknown {
        /// The type.
        kind: u64,
    },
}

const ENDED: u8 = 0;
const ACTIVE: u8 = 1;
const RESTARTED: u8 = 2;

impl Announcement {
    fn parse_typed(kind: u64, reader: &mut Reader<'_>, version: Version) -> Result<Self, DecodeError> {
        match kind {
            0 => Ok(Self::Start { suffix: reader.name()?, route: Route::parse(reader, version)? }),
            1 => Ok(Self::EndId { id: reader.varint()? }),
            2 => Ok(Self::RestartId { id: reader.varint()?, route: Route::parse(reader, version)? }),
            _ => {
                reader.skip_rest();
                Ok(Self::Unknown { kind })
            }
        }
    }

    fn parse_status(reader: &mut Reader<'_>, version: Version) -> Result<Self, DecodeError> {
        let status = reader.u8()?;
        let suffix = reader.name()?;
        let route = Route::parse(reader, version)?;
        match status {
            ENDED => Ok(Self::End { suffix }),
            ACTIVE => Ok(Self::Start { suffix, route }),
            RESTARTED if version.has_announce_ok() => Ok(Self::Restart { suffix, route }),
            _ => Err(DecodeError::Invalid("announce status")),
        }
    }
}

impl Message for Announcement {
    fn decode(buf: &mut BytesMut, version: Version) -> Result<Option<Self>, DecodeError> {
        if version.has_typed_announce() {
            take_typed(buf, MESSAGE_LEN_MAX, |kind, reader| Self::parse_typed(kind, reader, version))
        } else {
            take_message(buf, MESSAGE_LEN_MAX, |reader| Self::parse_status(reader, version))
        }
    }

    /// Appends the announcement; one that the version does not have is left out.
    fn encode(&self, out: &mut BytesMut, version: Version) {
        let typed = version.has_typed_announce();
        match self {
            Self::Start { suffix, route } if typed => {
                varint::put(out, 0);
                put_message(out, |body| {
                    put_string(body, suffix);
                    route.put(body, version);
                });
            }
            Self::EndId { id } if typed => {
                varint::put(out, 1);
                put_message(out, |body| varint::put(body, *id));
            }
            Self::RestartId { id, route } if typed => {
                varint::put(out, 2);
                put_message(out, |body| {
                    varint::put(body, *id);
                    route.put(body, version);
                });
            }
            Self::Start { suffix, route } => put_status(out, ACTIVE, suffix, &route.hops, version),
            Self::Restart { suffix, route } if !typed => {
                put_status(out, RESTARTED, suffix, &route.hops, version)
            }
            Self::End { suffix } if !typed => put_status(out, ENDED, suffix, &[], version),
            Self::End { .. }
            | Self::Restart { .. }
            | Self::EndId { .. }
            | Self::RestartId { .. }
            | Self::Unknown { .. } => {}
        }
    }
}

fn put_status(out: &mut BytesMut, status: u8, suffix: &str, hops: &[u64], version: Version) {
    put_message(out, |body| {
        body.put_u8(status);
        put_string(body, suffix);
        put_hops(body, hops, version);
    });
}
