//! Payloads of one access unit: what can be shared is shared, and the rest is written into one allocation.

use std::ops::Range;

use bytes::Bytes;

/// Collects payloads in order.
#[derive(Debug)]
pub(in crate::rtp) struct Writer {
    most: usize,
    written: Vec<u8>,
    /// Where the open payload begins.
    begin: usize,
    payloads: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Shared(Bytes),
    Written(Range<usize>),
}

impl Writer {
    /// For payloads of at most `most` bytes.
    pub(in crate::rtp) fn new(most: usize) -> Self {
        Self { most, written: Vec::new(), begin: 0, payloads: Vec::new() }
    }

    /// Largest payload, bytes.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Makes room for what is about to be written.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.written.reserve(bytes);
    }

    /// A payload that is a part of the unit as it is.
    pub(super) fn share(&mut self, payload: Bytes) {
        self.payloads.push(Piece::Shared(payload));
    }

    /// Appends to the open payload.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.written.extend_from_slice(bytes);
    }

    /// Bytes in the open payload.
    pub(super) fn length(&self) -> usize {
        self.written.len() - self.begin
    }

    /// The written bytes of the open payload.
    pub(super) fn open(&mut self) -> &mut Vec<u8> {
        &mut self.written
    }

    /// Ends the open payload.
    pub(super) fn cut(&mut self) {
        self.payloads.push(Piece::Written(self.begin..self.written.len()));
        self.begin = self.written.len();
    }

    /// All payloads.
    pub(in crate::rtp) fn finish(self) -> impl Iterator<Item = Bytes> {
        let written = Bytes::from(self.written);
        self.payloads.into_iter().map(move |piece| match piece {
            Piece::Shared(payload) => payload,
            Piece::Written(range) => written.slice(range),
        })
    }
}
