//! Where the model's egress door leads to: QUIC streams and datagrams.

use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use moqgate_core::{Frame, FrameSink, monotonic_now};

use crate::transport::{SendStream, Session, WriteError};
use crate::wire::{Datagram, FrameHeads, GroupHead, Message as _, UniType, Version};

/// Chunks gathered before they are handed to QUIC in one call: two per frame.
const BATCH_CHUNKS: usize = 64;
/// Bytes gathered before they are handed over. What is gathered counts as delivered, so this stays small.
const BATCH_BYTES: usize = 64 * 1024;
/// Frame heads are cut from blocks of this size, so that one allocation serves tens of them.
const HEAD_BLOCK: usize = 512;
/// Longest frame head: two varints.
const HEAD_MAX: usize = 16;

/// One group, or one FETCH answer, on its stream. Payloads go to QUIC as they are.
#[derive(Debug)]
pub(super) struct StreamSink {
    stream: SendStream,
    heads: FrameHeads,
    timescale: u64,
    block: BytesMut,
    /// The first `written` chunks have been handed over and are empty.
    queue: Vec<Bytes>,
    written: usize,
    queued_bytes: usize,
    blocked: bool,
}

impl StreamSink {
    pub(super) fn new(stream: SendStream, version: Version, timescale: u64) -> Self {
        Self {
            stream,
            heads: FrameHeads::new(version),
            timescale,
            block: BytesMut::new(),
            queue: Vec::new(),
            written: 0,
            queued_bytes: 0,
            blocked: false,
        }
    }

    /// A group stream: type and head go first.
    pub(super) fn group(stream: SendStream, version: Version, timescale: u64, head: GroupHead) -> Self {
        let mut sink = Self::new(stream, version, timescale);
        UniType::Group.encode(&mut sink.block);
        head.encode(&mut sink.block, version);
        let start = sink.block.split().freeze();
        sink.enqueue(start);
        sink
    }

    /// Ready when QUIC has all that was accepted.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        while let Some(rest) = self.queue.get_mut(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.poll_write(cx, rest) {
                Poll::Ready(done) => self.written += done?,
                Poll::Pending => {
                    self.blocked = true;
                    return Poll::Pending;
                }
            }
        }
        self.queue.clear();
        (self.written, self.queued_bytes, self.blocked) = (0, 0, false);
        Poll::Ready(Ok(()))
    }

    /// Whether QUIC took less than it was offered last time.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    pub(super) fn set_priority(&self, priority: i32) {
        self.stream.set_priority(priority);
    }

    pub(super) fn finish(self) {
        self.stream.finish();
    }

    pub(super) fn reset(self, code: u32) {
        self.stream.reset(code);
    }

    fn enqueue(&mut self, chunk: Bytes) {
        self.queued_bytes += chunk.len();
        self.queue.push(chunk);
    }
}

impl FrameSink for StreamSink {
    type Error = WriteError;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        if self.queue.len() < BATCH_CHUNKS && self.queued_bytes < BATCH_BYTES && !self.blocked {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush(cx)
    }

    fn accept(&mut self, frame: Frame) -> Result<(), WriteError> {
        if self.block.capacity() < HEAD_MAX {
            self.block.reserve(HEAD_BLOCK);
        }
        self.heads.encode(frame.timestamp.to_scale(self.timescale), frame.payload.len(), &mut self.block);
        let head = self.block.split().freeze();
        self.enqueue(head);
        if !frame.payload.is_empty() {
            self.enqueue(frame.payload);
        }
        Ok(())
    }

    fn now(&self) -> Option<Instant> {
        Some(monotonic_now())
    }
}

/// Sends the one frame of a datagram group, or refuses it.
#[derive(Debug)]
pub(super) struct DatagramSink<'a> {
    pub(super) transport: &'a Session,
    pub(super) subscribe_id: u64,
    pub(super) sequence: u64,
    pub(super) timescale: u64,
}

impl FrameSink for DatagramSink<'_> {
    type Error = DatagramDropped;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DatagramDropped>> {
        Poll::Ready(Ok(()))
    }

    fn accept(&mut self, frame: Frame) -> Result<(), DatagramDropped> {
        let body = Datagram {
            subscribe_id: self.subscribe_id,
            sequence: self.sequence,
            timestamp: frame.timestamp.to_scale(self.timescale),
            payload: frame.payload,
        }
        .encode();
        let fits = body.len() <= self.transport.datagram_max();
        if fits && self.transport.send_datagram(body) { Ok(()) } else { Err(DatagramDropped) }
    }

    fn now(&self) -> Option<Instant> {
        Some(monotonic_now())
    }
}

/// The datagram does not fit, or the peer takes none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("datagram dropped")]
pub(super) struct DatagramDropped;
