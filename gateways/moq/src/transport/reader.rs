//! Buffered reading of a stream's type and messages.

use bytes::BytesMut;

use super::{ReadError, RecvStream};
use crate::wire::{DecodeError, Message, Version, take_type};

/// A receiving half with the bytes that came with the last message but belong to the next.
///
/// Peers write a message in as many pieces as they like, so nothing here depends on packet boundaries. All methods are
/// cancel safe: bytes stay in the buffer until a whole item is there.
#[derive(Debug)]
pub(crate) struct Reader {
    stream: RecvStream,
    buffer: BytesMut,
    version: Version,
}

impl Reader {
    pub(crate) fn new(stream: RecvStream, version: Version) -> Self {
        Self { stream, buffer: BytesMut::new(), version }
    }

    /// The type of the stream, its first varint.
    pub(crate) async fn stream_type(&mut self) -> Result<u64, ReadFault> {
        self.item(|buffer, _| Ok(take_type(buffer))).await?.ok_or(ReadFault::Truncated)
    }

    /// The next message; `None` at the end of the stream.
    pub(crate) async fn message<M: Message>(&mut self) -> Result<Option<M>, ReadFault> {
        self.item(M::decode).await
    }

    /// Whatever `decode` takes off the front of the stream; `None` at the end of the stream.
    pub(crate) async fn item<T>(
        &mut self,
        decode: impl Fn(&mut BytesMut, Version) -> Result<Option<T>, DecodeError>,
    ) -> Result<Option<T>, ReadFault> {
        loop {
            if let Some(item) = decode(&mut self.buffer, self.version)? {
                return Ok(Some(item));
            }
            if !self.fill().await? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(ReadFault::Truncated) };
            }
        }
    }

    /// Resolves when the peer ends its half: `Ok` after a FIN; more bytes are a fault.
    pub(crate) async fn end(&mut self) -> Result<(), ReadFault> {
        if self.buffer.is_empty() && !self.fill().await? {
            return Ok(());
        }
        Err(ReadFault::Decode(DecodeError::Long))
    }

    /// The half itself, and what has been read from it but not consumed.
    pub(crate) fn into_parts(self) -> (RecvStream, BytesMut) {
        (self.stream, self.buffer)
    }

    /// Tells the peer that nothing more is wanted.
    pub(crate) fn stop(self, code: u32) {
        self.stream.stop(code);
    }

    async fn fill(&mut self) -> Result<bool, ReadFault> {
        match self.stream.read().await {
            Ok(Some(chunk)) => {
                self.buffer.extend_from_slice(&chunk);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(ReadError::Reset(code)) => Err(ReadFault::Reset(code)),
            Err(ReadError::Lost) => Err(ReadFault::Lost),
        }
    }
}

/// Why a message could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadFault {
    /// The peer gave the stream up.
    #[error("reset with {0:#x}")]
    Reset(u32),
    /// The session is over.
    #[error("session over")]
    Lost,
    /// The stream ended inside a message.
    #[error("stream ended inside a message")]
    Truncated,
    /// The bytes are not what they should be.
    #[error("{0}")]
    Decode(#[from] DecodeError),
}
