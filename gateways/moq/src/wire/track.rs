//! TRACK and TRACK_INFO (05 and later): what a track is, asked before its groups can be understood.

use std::time::Duration;

use bytes::{BufMut, BytesMut};

use super::codec::{MESSAGE_LEN_MAX, Message, put_message, put_millis, put_string, take_message};
use super::error::DecodeError;
use super::varint;
use super::version::Version;

/// Asks for the description of one track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Path of the broadcast, relative to the session's root, not yet normalised.
    pub broadcast: String,
    /// Name of the track.
    pub track: String,
}

impl Message for Track {
    fn decode(buf: &mut BytesMut, _: Version) -> Result<Option<Self>, DecodeError> {
        take_message(buf, MESSAGE_LEN_MAX, |reader| {
            Ok(Self { broadcast: reader.name()?, track: reader.name()? })
        })
    }

    fn encode(&self, out: &mut BytesMut, _: Version) {
        put_message(out, |body| {
            put_string(body, &self.broadcast);
            put_string(body, &self.track);
        });
    }
}

/// Describes a track; immutable for its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackInfo {
    /// The publisher's priority, higher first; only breaks ties.
    pub priority: u8,
    /// Oldest-first delivery. Not on the wire since 06, and ignored.
    pub ordered: u8,
    /// How long groups are worth keeping.
    pub max_age: Duration,
    /// Timestamp units per second, never 0.
    pub timescale: u64,
}

impl Message for TrackInfo {
    fn decode(buf: &mut BytesMut, version: Version) -> Result<Option<Self>, DecodeError> {
        take_message(buf, MESSAGE_LEN_MAX, |reader| {
            let priority = reader.u8()?;
            let ordered = if version.has_ordered() { reader.u8()? } else { 0 };
            let max_age = reader.millis()?;
            let timescale = reader.varint()?;
            if timescale == 0 {
                return Err(DecodeError::Invalid("timescale"));
            }
            Ok(Self { priority, ordered, max_age, timescale })
        })
    }

    fn encode(&self, out: &mut BytesMut, version: Version) {
        put_message(out, |body| {
            body.put_u8(self.priority);
            if version.has_ordered() {
                body.put_u8(self.ordered);
            }
            put_millis(body, self.max_age);
            varint::put(body, self.timescale);
        });
    }
}
