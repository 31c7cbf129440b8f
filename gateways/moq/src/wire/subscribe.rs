//! SUBSCRIBE, SUBSCRIBE_UPDATE and the replies.

use std::time::Duration;

use bytes::{BufMut, BytesMut};

use super::codec::{
    MESSAGE_LEN_MAX, Message, Reader, put_message, put_millis, put_optional, put_string, take_message,
    take_typed,
};
use super::error::DecodeError;
use super::varint;
use super::version::Version;

/// Largest audience that one subscription may claim to stand for.
pub const DOWNSTREAM_MAX: u64 = 1_000_000_000;

/// Which groups, and which frames of the first and last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// First group. `None`: the newest one (03 to 05), or the newest ones within the maximum age (06).
    pub start: Option<u64>,
    /// Last group, inclusive.
    pub end: Option<u64>,
    /// First frame within the start group; always 0 before 06.
    pub frame_start: u64,
    /// Last frame within the end group, inclusive; never before 06.
    pub frame_end: Option<u64>,
}

impl Range {
    fn parse(reader: &mut Reader<'_>, version: Version) -> Result<Self, DecodeError> {
        if !version.has_frame_bounds() {
            let (start, end) = (reader.optional()?, reader.optional()?);
            return Ok(Self { start, end, frame_start: 0, frame_end: None });
        }
        let (floor, end) = (reader.varint()?, reader.optional()?);
        let (frame_start, frame_end) = (reader.varint()?, reader.optional()?);
        if frame_end.is_some() && end.is_none() {
            return Err(DecodeError::Invalid("frame end without group end"));
        }
        let start = (floor != 0 || frame_start != 0).then_some(floor);
        Ok(Self { start, end, frame_start, frame_end })
    }

    fn put(&self, out: &mut BytesMut, version: Version) {
        if !version.has_frame_bounds() {
            put_optional(out, self.start);
            put_optional(out, self.end);
            return;
        }
        varint::put(out, self.start.unwrap_or(0));
        put_optional(out, self.end);
        varint::put(out, if self.start.is_some() { self.frame_start } else { 0 });
        put_optional(out, self.frame_end.filter(|_| self.end.is_some()));
    }
}

/// What a subscriber asks for and may change later; an update replaces all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Higher first.
    pub priority: u8,
    /// Oldest-first delivery, 0 or 1 by definition; any value is taken and ignored. Not on the wire since 06.
    pub ordered: u8,
    /// How far, in media time, a group may fall behind the newest before it may be dropped.
    pub max_age: Duration,
    /// Groups and frames wanted.
    pub range: Range,
    /// Audience behind this subscription. Any other than 1 is written as a private extension, one less than it is, and
    /// nobody as 0: only toward a peer whose SETUP said [`super::Setup::downstream`]. Others reject the message.
    pub downstream: u64,
}

impl Default for Terms {
    fn default() -> Self {
        Self { priority: 0, ordered: 0, max_age: Duration::ZERO, range: Range::default(), downstream: 1 }
    }
}

impl Terms {
    fn parse(reader: &mut Reader<'_>, version: Version, extended: bool) -> Result<Self, DecodeError> {
        let priority = reader.u8()?;
        let ordered = if version.has_ordered() { reader.u8()? } else { 0 };
        let max_age = reader.millis()?;
        let range = Range::parse(reader, version)?;
        let downstream = if extended && !reader.is_empty() {
            match reader.varint()? {
                0 => 0,
                others => others.saturating_add(1).min(DOWNSTREAM_MAX),
            }
        } else {
            1
        };
        Ok(Self { priority, ordered, max_age, range, downstream })
    }

    fn put(&self, out: &mut BytesMut, version: Version) {
        out.put_u8(self.priority);
        if version.has_ordered() {
            out.put_u8(self.ordered);
        }
        put_millis(out, self.max_age);
        self.range.put(out, version);
        if self.downstream != 1 && version.has_setup() {
            varint::put(out, self.downstream.saturating_sub(1));
        }
    }
}

/// Asks for a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Chosen by the subscriber, counting up from 0; groups refer to it.
    pub id: u64,
    /// Path of the broadcast, relative to the session's root, not yet normalised.
    pub broadcast: String,
    /// Name of the track.
    pub track: String,
    /// The rest, which an update may change.
    pub terms: Terms,
}

impl Subscribe {
    /// As [`Message::decode`], of a peer to which our SETUP said that we read audience counts.
    pub fn decode_extended(buf: &mut BytesMut, version: Version) -> Result<Option<Self>, DecodeError> {
        take_message(buf, MESSAGE_LEN_MAX, |reader| Self::parse(reader, version, true))
    }

    fn parse(reader: &mut Reader<'_>, version: Version, extended: bool) -> Result<Self, DecodeError> {
        let id = reader.varint()?;
        let (broadcast, track) = (reader.name()?, reader.name()?);
        Ok(Self { id, broadcast, track, terms: Terms::parse(reader, version, extended)? })
    }
}

impl Message for Subscribe {
    fn decode(buf: &mut BytesMut, version: Version) -> Result<Option<Self>, DecodeError> {
        take_message(buf, MESSAGE_LEN_MAX, |reader| Self::parse(reader, version, false))
    }

    fn encode(&self, out: &mut BytesMut, version: Version) {
        put_message(out, |body| {
            varint::put(body, self.id);
            put_string(body, &self.broadcast);
            put_string(body, &self.track);
            self.terms.put(body, version);
        });
    }
}

/// Replaces the terms of a subscription, on its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeUpdate(pub Terms);

impl SubscribeUpdate {
    /// As [`Message::decode`], of a peer to which our SETUP said that we read audience counts.
    pub fn decode_extended(buf: &mut BytesMut, version: Version) -> Result<Option<Self>, DecodeError> {
        take_message(buf, MESSAGE_LEN_MAX, |reader| Terms::parse(reader, version, true).map(Self))
    }
}

impl Message for SubscribeUpdate {
    fn decode(buf: &mut BytesMut, version: Version) -> Result<Option<Self>, DecodeError> {
        take_message(buf, MESSAGE_LEN_MAX, |reader| Terms::parse(reader, version, false).map(Self))
    }

    fn encode(&self, out: &mut BytesMut, version: Version) {
        put_message(out, |body| self.0.put(body, version));
    }
}

/// What a publisher says on the reply half of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeReply {
    /// Accepted (03 and 04): must come first.
    Ok(Terms),
    /// The first group is known (05 and later). Nothing below it is promised.
    Start {
        /// Its sequence.
        group: u64,
    },
    /// The track ends (05 and later); groups below may still be under way.
    End {
        /// One above the last group; 0 = there was none.
        group: u64,
    },
    /// Groups that will not come.
    Drop {
        /// The first of them.
        first: u64,
        /// The last of them, inclusive.
        last: u64,
        /// A stream code that says why.
        code: u64,
    },
}

impl Message for SubscribeReply {
    fn decode(buf: &mut BytesMut, version: Version) -> Result<Option<Self>, DecodeError> {
        take_typed(buf, MESSAGE_LEN_MAX, |kind, reader| match (kind, version.has_start_and_end()) {
            (0, false) => Terms::parse(reader, version, false).map(Self::Ok),
            (0, true) => Ok(Self::Start { group: reader.varint()? }),
            (1, true) => Ok(Self::End { group: reader.varint()? }),
            (1, false) | (2, true) => {
                Ok(Self::Drop { first: reader.varint()?, last: reader.varint()?, code: reader.varint()? })
            }
            _ => Err(DecodeError::UnknownType(kind)),
        })
    }

    /// Appends the reply; one that the version does not have is left out.
    fn encode(&self, out: &mut BytesMut, version: Version) {
        let modern = version.has_start_and_end();
        match *self {
            Self::Ok(terms) if !modern => {
                varint::put(out, 0);
                put_message(out, |body| Terms { downstream: 1, ..terms }.put(body, version));
            }
            Self::Start { group } if modern => {
                varint::put(out, 0);
                put_message(out, |body| varint::put(body, group));
            }
            Self::End { group } if modern => {
                varint::put(out, 1);
                put_message(out, |body| varint::put(body, group));
            }
            Self::Drop { first, last, code } => {
                varint::put(out, if modern { 2 } else { 1 });
                put_message(out, |body| {
                    varint::put(body, first);
                    varint::put(body, last);
                    varint::put(body, code);
                });
            }
            Self::Ok(_) | Self::Start { .. } | Self::End { .. } => {}
        }
    }
}
