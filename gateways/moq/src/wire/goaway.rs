//! GOAWAY (04 and later), alone on a stream of its own.

use bytes::BytesMut;

use super::codec::{Message, put_message, put_string, take_message};
use super::error::DecodeError;
use super::version::Version;

/// Asks the peer to open nothing new, move, and close. At most one per session and direction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Goaway {
    /// Where to reconnect; empty = the same place.
    pub uri: String,
}

/// Longest URI in a GOAWAY, in bytes.
pub const GOAWAY_URI_LEN_MAX: u64 = 8192;

impl Message for Goaway {
    fn decode(buf: &mut BytesMut, _: Version) -> Result<Option<Self>, DecodeError> {
        take_message(buf, GOAWAY_URI_LEN_MAX + 8, |reader| {
            Ok(Self { uri: reader.string(GOAWAY_URI_LEN_MAX)? })
        })
    }

    fn encode(&self, out: &mut BytesMut, _: Version) {
        put_message(out, |body| put_string(body, &self.uri));
    }
}
