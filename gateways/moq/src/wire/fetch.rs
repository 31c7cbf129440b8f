//! FETCH: one group of the past. The answer is bare frames, in the form of the version.

use bytes::{BufMut, BytesMut};

use super::codec::{MESSAGE_LEN_MAX, Message, put_message, put_optional, put_string, take_message};
use super::error::DecodeError;
use super::varint;
use super::version::Version;

/// Asks for one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Path of the broadcast, relative to the session's root, not yet normalised.
    pub broadcast: String,
    /// Name of the track.
    pub track: String,
    /// Higher first.
    pub priority: u8,
    /// Sequence of the group.
    pub group: u64,
    /// Index of the first frame wanted; always 0 before 06.
    pub frame_start: u64,
    /// Index of the last frame wanted, inclusive; never before 06.
    pub frame_end: Option<u64>,
}

impl Message for Fetch {
    fn decode(buf: &mut BytesMut, version: Version) -> Result<Option<Self>, DecodeError> {
        take_message(buf, MESSAGE_LEN_MAX, |reader| {
            let (broadcast, track) = (reader.name()?, reader.name()?);
            let priority = reader.u8()?;
            let group = reader.varint()?;
            let (frame_start, frame_end) =
                if version.has_frame_bounds() { (reader.varint()?, reader.optional()?) } else { (0, None) };
            if frame_end.is_some_and(|end| end < frame_start) {
                return Err(DecodeError::Invalid("frame range"));
            }
            Ok(Self { broadcast, track, priority, group, frame_start, frame_end })
        })
    }

    fn encode(&self, out: &mut BytesMut, version: Version) {
        put_message(out, |body| {
            put_string(body, &self.broadcast);
            put_string(body, &self.track);
            body.put_u8(self.priority);
            varint::put(body, self.group);
            if version.has_frame_bounds() {
                varint::put(body, self.frame_start);
                put_optional(body, self.frame_end);
            }
        });
    }
}
