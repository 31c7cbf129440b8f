//! Messages to chunks.
//!
//! Every message starts with a full header (format 0): four bytes more than the smallest, and nothing that a peer could
//! read in two ways. What follows is format 3, with the extended timestamp repeated.

use bytes::{BufMut, BytesMut};

use super::DEFAULT_CHUNK_SIZE;
use crate::proto::message::{Message, kind};

/// The chunk size that we set: large enough for a header every few packets, small enough for any peer's buffer.
pub const SEND_CHUNK_SIZE: usize = 65_536;

/// From here on the timestamp field says that the real one follows.
const EXTENDED: u32 = 0xff_ffff;

/// Cuts messages into chunks of the size that was last announced.
#[derive(Debug)]
pub struct ChunkWriter {
    chunk_size: usize,
}

impl Default for ChunkWriter {
    fn default() -> Self {
        Self { chunk_size: DEFAULT_CHUNK_SIZE }
    }
}

impl ChunkWriter {
    /// Appends `message` on chunk stream `csid`, 2 to 63. A Set Chunk Size message holds for what follows it.
    ///
    /// The body must fit the 24-bit length field; what is beyond is left out.
    pub fn write(&mut self, csid: u8, message: &Message, out: &mut BytesMut) {
        let body = &message.body[..message.body.len().min(0xff_ffff)];
        out.reserve(body.len() + 16 + body.len() / self.chunk_size * 5);
        let extended = message.timestamp >= EXTENDED;
        out.put_u8(csid & 0x3f);
        out.put_uint(u64::from(message.timestamp.min(EXTENDED)), 3);
        out.put_uint(body.len() as u64, 3);
        out.put_u8(message.kind);
        out.put_u32_le(message.stream);
        if extended {
            out.put_u32(message.timestamp);
        }
        let (first, rest) = body.split_at(body.len().min(self.chunk_size));
        out.put_slice(first);
        for chunk in rest.chunks(self.chunk_size) {
            out.put_u8(0xc0 | csid & 0x3f);
            if extended {
                out.put_u32(message.timestamp);
            }
            out.put_slice(chunk);
        }
        if message.kind == kind::SET_CHUNK_SIZE
            && let Some(size) = crate::proto::message::control_number(body)
        {
            self.chunk_size = (size as usize).clamp(1, 0xff_ffff);
        }
    }
}
