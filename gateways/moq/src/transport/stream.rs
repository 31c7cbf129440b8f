//! Stream halves with MoQ codes.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::{mapped, unmapped};

/// Code with which a half is given up when nothing better is known: cancelled.
const CANCELLED: u32 = 0x1;
/// Most bytes taken from a stream at once.
const READ_MAX: usize = 256 * 1024;

/// The sending half. Dropped unfinished it is reset, so that what was cut short never looks complete.
#[derive(Debug)]
pub(crate) struct SendStream {
    quic: quinn::SendStream,
    ended: bool,
}

impl SendStream {
    pub(super) fn new(quic: quinn::SendStream) -> Self {
        Self { quic, ended: false }
    }

    pub(super) async fn prefix(&mut self, header: Bytes) -> Result<(), WriteError> {
        self.write(header).await
    }

    /// Writes all of `chunk`.
    pub(crate) async fn write(&mut self, chunk: Bytes) -> Result<(), WriteError> {
        self.quic.write_chunk(chunk).await.map_err(WriteError::from)
    }

    /// Hands over as many chunks as fit without copying them. Chunks handed over become empty, one that was split keeps
    /// its rest. Returns how many are done; `Pending` means that nothing fits and the task is woken when something does.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<Result<usize, WriteError>> {
        let writing = pin!(self.quic.write_chunks(chunks));
        writing.poll(cx).map(|written| written.map(|written| written.chunks).map_err(WriteError::from))
    }

    /// Higher goes first; the default is 0.
    pub(crate) fn set_priority(&self, priority: i32) {
        // Fails only on a stream that has ended, which has nothing left to order.
        let _ended = self.quic.set_priority(priority);
    }

    /// The end: everything written so far is all there is.
    pub(crate) fn finish(mut self) {
        self.ended = true;
        let _stopped = self.quic.finish();
    }

    /// Gives up what has not arrived yet.
    pub(crate) fn reset(mut self, code: u32) {
        self.ended = true;
        let _ended = self.quic.reset(mapped(code));
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if !self.ended {
            let _ended = self.quic.reset(mapped(CANCELLED));
        }
    }
}

/// Why a write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WriteError {
    /// The peer wants no more of this stream.
    #[error("stopped with 0x{0:x}")]
    Stopped(u32),
    /// The session is over, or the stream was ended before.
    #[error("session over")]
    Lost,
}

impl From<quinn::WriteError> for WriteError {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::Stopped(code) => Self::Stopped(unmapped(code)),
            quinn::WriteError::ConnectionLost(_)
            | quinn::WriteError::ClosedStream
            | quinn::WriteError::ZeroRttRejected => Self::Lost,
        }
    }
}

/// The receiving half. Dropped before its end it tells the peer to stop.
#[derive(Debug)]
pub(crate) struct RecvStream {
    quic: quinn::RecvStream,
}

impl RecvStream {
    pub(super) fn new(quic: quinn::RecvStream) -> Self {
        Self { quic }
    }

    /// The next bytes, as they came out of the packet; `None` at the end. Cancel safe.
    pub(crate) async fn read(&mut self) -> Result<Option<Bytes>, ReadError> {
        match self.quic.read_chunk(READ_MAX, true).await {
            Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
            Err(quinn::ReadError::Reset(code)) => Err(ReadError::Reset(unmapped(code))),
            Err(
                quinn::ReadError::ConnectionLost(_)
                | quinn::ReadError::ClosedStream
                | quinn::ReadError::IllegalOrderedRead
                | quinn::ReadError::ZeroRttRejected,
            ) => Err(ReadError::Lost),
        }
    }

    /// Tells the peer that nothing more of this stream is wanted.
    pub(crate) fn stop(mut self, code: u32) {
        let _ended = self.quic.stop(mapped(code));
    }
}

/// Why a read failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// The peer gave the stream up.
    #[error("reset with 0x{0:x}")]
    Reset(u32),
    /// The session is over.
    #[error("session over")]
    Lost,
}
