//! Small messages on their way out of a state machine that is polled.

use std::task::{Context, Poll};

use bytes::Bytes;

use crate::transport::{SendStream, WriteError};
use crate::wire::{Message, Version};

/// A sending half and the messages that it has not taken yet.
#[derive(Debug)]
pub(super) struct Outbox {
    stream: SendStream,
    version: Version,
    queue: Vec<Bytes>,
    /// The peer reads no more of this half. That alone ends nothing.
    stopped: bool,
}

impl Outbox {
    pub(super) fn new(stream: SendStream, version: Version) -> Self {
        Self { stream, version, queue: Vec::new(), stopped: false }
    }

    pub(super) fn push(&mut self, message: &impl Message) {
        if !self.stopped {
            self.queue.push(message.to_bytes(self.version));
        }
    }

    /// Ready when everything was handed over, or nobody wants it.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        while !self.queue.is_empty() {
            match self.stream.poll_write(cx, &mut self.queue) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(done)) => drop(self.queue.drain(..done)),
                Poll::Ready(Err(WriteError::Stopped(_))) => {
                    self.stopped = true;
                    self.queue.clear();
                }
                Poll::Ready(Err(WriteError::Lost)) => return Poll::Ready(Err(WriteError::Lost)),
            }
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn into_stream(self) -> SendStream {
        self.stream
    }
}
