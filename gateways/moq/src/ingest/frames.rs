//! Takes the bytes of a group stream apart into frames.

use bytes::{Bytes, BytesMut};

use crate::wire::{DecodeError, FrameHead, FrameHeads, Version};

/// How much room is made for a frame before its bytes are there; from then on it grows with them.
const RESERVE_MAX: usize = 256 * 1024;

/// The frames of one stream. Pure: [`push`](Self::push) bytes, then [`poll`](Self::poll) until there is nothing.
#[derive(Debug)]
pub(super) struct Frames {
    heads: FrameHeads,
    head: Option<FrameHead>,
    buffer: BytesMut,
}

impl Frames {
    /// At the first frame of a stream; `buffer` is what has been read of it already.
    pub(super) fn new(version: Version, buffer: BytesMut) -> Self {
        Self { heads: FrameHeads::new(version), head: None, buffer }
    }

    /// Appends what came.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole frame: its timestamp in units of the track, if the version has them, and its payload.
    pub(super) fn poll(&mut self) -> Result<Option<(Option<u64>, Bytes)>, DecodeError> {
        if self.head.is_none() {
            self.head = self.heads.decode(&mut self.buffer)?;
        }
        let Some(head) = self.head else { return Ok(None) };
        let missing = head.size.saturating_sub(self.buffer.len());
        if missing > 0 {
            self.buffer.reserve(missing.min(RESERVE_MAX));
            return Ok(None);
        }
        self.head = None;
        Ok(Some((head.timestamp, self.buffer.split_to(head.size).freeze())))
    }

    /// Bytes that are held and not part of a frame yet.
    pub(super) fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Whether the stream may end here.
    pub(super) fn is_between(&self) -> bool {
        self.head.is_none() && self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_cut_gives_the_same_frames(sizes in prop::collection::vec(0..2000_usize, 0..20), cut in 1..3000_usize) {
            let mut bytes = BytesMut::new();
            let mut writer = FrameHeads::new(Version::Lite06);
            for (index, size) in sizes.iter().enumerate() {
                writer.encode(1000 - index as u64, *size, &mut bytes);
                bytes.extend_from_slice(&vec![index as u8; *size]);
            }
            let mut frames = Frames::new(Version::Lite06, BytesMut::new());
            let mut seen = Vec::new();
            for chunk in bytes.chunks(cut) {
                prop_assert!(seen.len() <= sizes.len());
                frames.push(chunk);
                while let Some((timestamp, payload)) = frames.poll().unwrap() {
                    prop_assert_eq!(timestamp, Some(1000 - seen.len() as u64));
                    prop_assert!(payload.iter().all(|byte| usize::from(*byte) == seen.len()));
                    seen.push(payload.len());
                }
            }
            prop_assert_eq!(seen, sizes);
            prop_assert!(frames.is_between());
            prop_assert_eq!(frames.held(), 0);
        }
    }

    #[test]
    fn half_a_frame_is_not_the_end() {
        let mut frames = Frames::new(Version::Lite04, BytesMut::from(&[3, b'a'][..]));
        assert_eq!(frames.poll(), Ok(None));
        assert!(!frames.is_between());
        frames.push(b"bc");
        assert_eq!(frames.poll(), Ok(Some((None, Bytes::from_static(b"abc")))));
        assert!(frames.is_between());
    }

    #[test]
    fn a_lying_length_reserves_little() {
        let mut frames = Frames::new(Version::Lite04, BytesMut::from(&[0x81, 0xff, 0xff, 0xff][..]));
        assert_eq!(frames.poll(), Ok(None));
        assert!(frames.buffer.capacity() <= 2 * RESERVE_MAX);
    }
}
