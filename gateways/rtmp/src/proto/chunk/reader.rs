//! Chunks to messages.
//!
//! State lives per chunk stream, so that messages may interleave. A body is copied once, from the socket's buffer to its
//! own place, as it arrives: nothing is reserved for what a header only promises.

use bytes::{Buf, BytesMut};

use super::DEFAULT_CHUNK_SIZE;
use crate::proto::message::{MAX_VIDEO, Message, control_number, kind, max_len};

/// Chunk streams with state. Encoders use four; cameras that number them wildly, about ten.
pub(super) const MAX_STREAMS: usize = 32;
/// Bytes of all messages under way together.
pub(super) const MAX_PARTIAL: usize = 16 << 20;
/// Chunks of one message: the longest one at the default size. A peer with smaller chunks has smaller messages.
pub(super) const MAX_CHUNKS: u32 = (MAX_VIDEO / DEFAULT_CHUNK_SIZE) as u32;
/// Larger chunk sizes mean the same: no message is longer.
const MAX_CHUNK_SIZE: usize = 0xff_ffff;
/// The timestamp field that says that the real one follows.
const EXTENDED: u32 = 0xff_ffff;

/// Why a peer cannot be understood any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// Set Chunk Size of 0, or with the reserved bit.
    #[error("impossible chunk size {0}")]
    ChunkSize(u32),
    /// More chunk streams than anybody needs.
    #[error("more than {MAX_STREAMS} chunk streams")]
    Streams,
    /// A header that builds on one that never was.
    #[error("chunk stream {0} starts without a full header")]
    NoHeader(u32),
    /// A new message on a chunk stream whose last one is not complete.
    #[error("a message on chunk stream {0} was cut off by another")]
    Overlap(u32),
    /// A message longer than its type may be.
    #[error("message of type {kind} with {len} bytes")]
    TooLong {
        /// Message type.
        kind: u8,
        /// Its length.
        len: usize,
    },
    /// A message in more chunks than the longest one needs.
    #[error("message in more than {MAX_CHUNKS} chunks")]
    Chunks,
    /// Messages under way together are longer than one connection may hold.
    #[error("more than {MAX_PARTIAL} bytes of unfinished messages")]
    Partial,
    /// A control message too short for its number.
    #[error("control message of type {0} is too short")]
    Control(u8),
}

/// Puts messages together.
#[derive(Debug)]
pub struct ChunkReader {
    chunk_size: usize,
    streams: Vec<Stream>,
    /// The chunk whose body is arriving: index into `streams`, and what is missing of it.
    open: Option<(usize, usize)>,
    /// Bytes in all `body`s.
    partial: usize,
}

/// One chunk stream.
#[derive(Debug)]
struct Stream {
    csid: u32,
    timestamp: u32,
    delta: u32,
    len: usize,
    kind: u8,
    stream: u32,
    /// The extended timestamp, if the last header with a timestamp field had one.
    extended: Option<u32>,
    body: BytesMut,
    /// Chunks of the message under way; 0 between messages.
    chunks: u32,
}

/// A header as it stands on the wire.
struct Header {
    format: u8,
    csid: u32,
    /// Bytes of it so far.
    size: usize,
    timestamp: u32,
    extended: Option<u32>,
    len: usize,
    kind: u8,
    stream: u32,
}

impl Default for ChunkReader {
    fn default() -> Self {
        Self { chunk_size: DEFAULT_CHUNK_SIZE, streams: Vec::new(), open: None, partial: 0 }
    }
}

impl ChunkReader {
    /// Takes from the front of `input` until a message is complete, or `None` when more is needed. At most a header, 18
    /// bytes, stays in `input`.
    ///
    /// Set Chunk Size and Abort are obeyed here, and returned as well.
    ///
    /// # Errors
    /// [`ChunkError`]; the connection is of no use after it.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Message>, ChunkError> {
        loop {
            if self.open.is_none() {
                let Some(header) = self.header(input)? else { return Ok(None) };
                let index = self.start(&header)?;
                input.advance(header.size);
                let stream = &self.streams[index];
                let missing = stream.len - stream.body.len();
                self.open = Some((index, missing.min(self.chunk_size)));
            }
            let Some((index, missing)) = self.open else { return Ok(None) };
            let taken = missing.min(input.len());
            self.take(index, &input[..taken])?;
            input.advance(taken);
            if taken < missing {
                self.open = Some((index, missing - taken));
                return Ok(None);
            }
            self.open = None;
            if let Some(message) = self.complete(index) {
                self.obey(&message)?;
                return Ok(Some(message));
            }
        }
    }

    /// Bytes of messages that are not complete.
    pub fn partial(&self) -> usize {
        self.partial
    }

    /// The next header, if all of it is there.
    fn header(&self, input: &[u8]) -> Result<Option<Header>, ChunkError> {
        let Some((format, csid, basic)) = basic_header(input) else { return Ok(None) };
        let before = self.streams.iter().find(|stream| stream.csid == csid);
        let fields = [11, 7, 3, 0][usize::from(format)];
        let Some(mut rest) = input.get(basic + fields..) else { return Ok(None) };
        let mut raw = &input[basic..basic + fields];
        let mut header = Header {
            format,
            csid,
            size: basic + fields,
            timestamp: 0,
            extended: None,
            len: before.map_or(0, |stream| stream.len),
            kind: before.map_or(0, |stream| stream.kind),
            stream: before.map_or(0, |stream| stream.stream),
        };
        if format == 3 {
            let Some(before) = before else { return Err(ChunkError::NoHeader(csid)) };
            header.extended = before.extended;
            let Some(value) = before.extended else { return Ok(Some(header)) };
            // Some encoders do not repeat it. What differs from it is the body.
            let expected = value.to_be_bytes();
            let have = rest.len().min(4);
            if rest[..have] == expected[..have] {
                if have < 4 {
                    return Ok(None);
                }
                header.size += 4;
            }
            return Ok(Some(header));
        }
        header.timestamp = raw.get_uint(3) as u32;
        if format <= 1 {
            header.len = raw.get_uint(3) as usize;
            header.kind = raw.get_u8();
        }
        if format == 0 {
            header.stream = raw.get_u32_le();
        }
        if header.timestamp == EXTENDED {
            if rest.len() < 4 {
                return Ok(None);
            }
            header.timestamp = rest.get_u32();
            header.extended = Some(header.timestamp);
            header.size += 4;
        }
        Ok(Some(header))
    }

    /// Applies a header; returns the index of its chunk stream.
    fn start(&mut self, header: &Header) -> Result<usize, ChunkError> {
        let index = self.stream(header)?;
        let stream = &mut self.streams[index];
        if stream.chunks > 0 {
            // Some writers repeat the full header where format 3 belongs.
            let repeated = header.format == 0
                && (header.timestamp, header.len, header.kind, header.stream)
                    == (stream.timestamp, stream.len, stream.kind, stream.stream);
            if header.format != 3 && !repeated {
                return Err(ChunkError::Overlap(header.csid));
            }
        } else {
            match header.format {
                0 => {
                    stream.timestamp = header.timestamp;
                    stream.stream = header.stream;
                    // The specification would take the timestamp itself for a following format 3; servers do not.
                    stream.delta = 0;
                }
                1 | 2 => {
                    stream.delta = header.timestamp;
                    stream.timestamp = stream.timestamp.wrapping_add(header.timestamp);
                }
                _ => stream.timestamp = stream.timestamp.wrapping_add(stream.delta),
            }
            stream.len = header.len;
            stream.kind = header.kind;
            stream.extended = header.extended;
            if stream.len > max_len(stream.kind) {
                return Err(ChunkError::TooLong { kind: stream.kind, len: stream.len });
            }
        }
        stream.chunks += 1;
        if stream.chunks > MAX_CHUNKS {
            return Err(ChunkError::Chunks);
        }
        Ok(index)
    }

    fn stream(&mut self, header: &Header) -> Result<usize, ChunkError> {
        if let Some(index) = self.streams.iter().position(|stream| stream.csid == header.csid) {
            return Ok(index);
        }
        // Old librtmp starts its ping replies with format 1.
        if header.format > 1 {
            return Err(ChunkError::NoHeader(header.csid));
        }
        if self.streams.len() == MAX_STREAMS {
            return Err(ChunkError::Streams);
        }
        self.streams.push(Stream {
            csid: header.csid,
            timestamp: 0,
            delta: 0,
            len: 0,
            kind: 0,
            stream: 0,
            extended: None,
            body: BytesMut::new(),
            chunks: 0,
        });
        Ok(self.streams.len() - 1)
    }

    fn take(&mut self, index: usize, bytes: &[u8]) -> Result<(), ChunkError> {
        self.partial += bytes.len();
        if self.partial > MAX_PARTIAL {
            return Err(ChunkError::Partial);
        }
        self.streams[index].body.extend_from_slice(bytes);
        Ok(())
    }

    fn complete(&mut self, index: usize) -> Option<Message> {
        let stream = &mut self.streams[index];
        if stream.body.len() < stream.len {
            return None;
        }
        stream.chunks = 0;
        self.partial -= stream.len;
        let body = std::mem::take(&mut stream.body).freeze();
        Some(Message { kind: stream.kind, timestamp: stream.timestamp, stream: stream.stream, body })
    }

    fn obey(&mut self, message: &Message) -> Result<(), ChunkError> {
        let number = || control_number(&message.body).ok_or(ChunkError::Control(message.kind));
        match message.kind {
            kind::SET_CHUNK_SIZE => {
                let size = number()?;
                if size == 0 || size > i32::MAX as u32 {
                    return Err(ChunkError::ChunkSize(size));
                }
                self.chunk_size = (size as usize).min(MAX_CHUNK_SIZE);
            }
            kind::ABORT => {
                let csid = number()?;
                if let Some(stream) = self.streams.iter_mut().find(|stream| stream.csid == csid) {
                    self.partial -= stream.body.len();
                    stream.body = BytesMut::new();
                    stream.chunks = 0;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Format, chunk stream id and size of a basic header, if all of it is there.
fn basic_header(input: &[u8]) -> Option<(u8, u32, usize)> {
    let first = *input.first()?;
    let format = first >> 6;
    Some(match first & 0x3f {
        0 => (format, 64 + u32::from(*input.get(1)?), 2),
        1 => (format, 64 + u32::from(*input.get(1)?) + 256 * u32::from(*input.get(2)?), 3),
        csid => (format, u32::from(csid), 1),
    })
}
