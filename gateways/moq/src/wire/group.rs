//! GROUP streams: a head, then frames to the end of the stream. FETCH answers are the frames alone.

use bytes::{Buf, BytesMut};

use super::codec::{MESSAGE_LEN_MAX, Message, put_message, take_message};
use super::error::DecodeError;
use super::varint;
use super::version::Version;

/// Largest frame payload, in bytes: the limit of the released peers.
pub const FRAME_LEN_MAX: u64 = 32 * 1024 * 1024;

/// Most frames in one group: the limit of the released peers.
pub const GROUP_FRAMES_MAX: u64 = 8192;

/// What a group stream begins with, after its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHead {
    /// The subscription it answers.
    pub subscribe_id: u64,
    /// The group's sequence.
    pub sequence: u64,
    /// Index of the first frame that follows; always 0 before 06.
    pub frame_start: u64,
}

impl Message for GroupHead {
    fn decode(buf: &mut BytesMut, version: Version) -> Result<Option<Self>, DecodeError> {
        take_message(buf, MESSAGE_LEN_MAX, |reader| {
            let (subscribe_id, sequence) = (reader.varint()?, reader.varint()?);
            let frame_start = if version.has_frame_bounds() { reader.varint()? } else { 0 };
            Ok(Self { subscribe_id, sequence, frame_start })
        })
    }

    fn encode(&self, out: &mut BytesMut, version: Version) {
        put_message(out, |body| {
            varint::put(body, self.subscribe_id);
            varint::put(body, self.sequence);
            if version.has_frame_bounds() {
                varint::put(body, self.frame_start);
            }
        });
    }
}

/// What precedes a frame's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Absolute, in units of the track's timescale. `None` before 05: the receiver stamps the arrival.
    pub timestamp: Option<u64>,
    /// Payload length in bytes, at most [`FRAME_LEN_MAX`].
    pub size: usize,
}

/// Reads and writes the frame heads of one stream. Timestamps are deltas against the previous frame of the same
/// stream, the first against 0, so there is one of these per stream and direction.
#[derive(Debug, Clone)]
pub struct FrameHeads {
    timestamps: bool,
    previous: u64,
}

impl FrameHeads {
    /// At the beginning of a stream.
    pub fn new(version: Version) -> Self {
        Self { timestamps: version.has_tracks(), previous: 0 }
    }

    /// Takes one head off the front of `buf`. `None` = more bytes needed, nothing consumed.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<FrameHead>, DecodeError> {
        let (mut timestamp, mut skip) = (None, 0);
        if self.timestamps {
            let Some((delta, width)) = varint::peek(buf) else { return Ok(None) };
            let absolute = self.previous.checked_add_signed(varint::unzigzag(delta));
            timestamp = Some(absolute.ok_or(DecodeError::Invalid("timestamp"))?);
            skip = width;
        }
        let Some((length, width)) = buf.get(skip..).and_then(varint::peek) else { return Ok(None) };
        if length > FRAME_LEN_MAX {
            return Err(DecodeError::TooLarge { length, max: FRAME_LEN_MAX });
        }
        let size =
            usize::try_from(length).map_err(|_| DecodeError::TooLarge { length, max: FRAME_LEN_MAX })?;
        buf.advance(skip.saturating_add(width));
        self.previous = timestamp.unwrap_or(0);
        Ok(Some(FrameHead { timestamp, size }))
    }

    /// Appends one head. `timestamp` is left out where the version has none.
    pub fn encode(&mut self, timestamp: u64, size: usize, out: &mut BytesMut) {
        if self.timestamps {
            varint::put(out, varint::zigzag(timestamp.wrapping_sub(self.previous).cast_signed()));
            self.previous = timestamp;
        }
        varint::put(out, size as u64);
    }
}
