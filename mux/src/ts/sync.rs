//! Finds packets in a stream of bytes cut anywhere: at a stride of 188, of 192 (4 bytes in front, M2TS) or of 204
//! (16 bytes of parity behind), after any amount of garbage.
//!
//! Every decision depends on the bytes alone and never on where a chunk ends, so that any chunking gives the same packets.

use super::limits::{SEARCH_STEP_BYTES, SYNC_HITS};
use super::packet::{PACKET_BYTES, SYNC_BYTE};

const STRIDES: [usize; 3] = [188, 192, 204];

/// Cuts a byte stream into transport packets.
#[derive(Debug, Default)]
pub(crate) struct Sync {
    state: State,
    /// Locked: the start of a packet whose end has not arrived. Searching: what may still begin with a packet.
    held: Vec<u8>,
    lost_bytes: u64,
    resyncs: u64,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Searching,
    Locked {
        stride: usize,
        /// Bytes between the last packet and the next sync byte that have not arrived yet.
        gap: usize,
    },
}

impl Sync {
    /// Hands every packet that `bytes` completes to `each`.
    pub(crate) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8; PACKET_BYTES])) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.state {
                State::Locked { stride, gap } => self.locked(stride, gap, rest, &mut each),
                State::Searching => {
                    let (step, later) = rest.split_at(rest.len().min(SEARCH_STEP_BYTES));
                    self.held.extend_from_slice(step);
                    self.search(false, &mut each);
                    later
                }
            };
        }
    }

    /// No more bytes will come: accepts what a short input shows, with fewer sync bytes than a lock wants.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(&[u8; PACKET_BYTES])) {
        if matches!(self.state, State::Searching) && self.held.len() >= PACKET_BYTES {
            self.search(true, &mut each);
        }
        self.lost_bytes += self.held.len() as u64;
        self.held.clear();
    }

    /// Bytes that belonged to no packet.
    pub(crate) fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    /// How often sync was lost after it had been found.
    pub(crate) fn resyncs(&self) -> u64 {
        self.resyncs
    }

    /// Takes packets from `rest` while the stride holds and returns what is left for another state.
    fn locked<'a>(
        &mut self,
        stride: usize,
        gap: usize,
        mut rest: &'a [u8],
        each: &mut impl FnMut(&[u8; PACKET_BYTES]),
    ) -> &'a [u8] {
        let skipped = gap.min(rest.len());
        rest = &rest[skipped..];
        self.state = State::Locked { stride, gap: gap - skipped };
        if !self.held.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(PACKET_BYTES - self.held.len()));
            self.held.extend_from_slice(head);
            let Some(packet) = self.held.first_chunk() else { return tail };
            each(packet);
            self.held.clear();
            rest = self.skip_gap(stride, tail);
        }
        while let Some(&first) = rest.first() {
            if first != SYNC_BYTE {
                self.resyncs += 1;
                self.state = State::Searching;
                return rest;
            }
            let Some((packet, tail)) = rest.split_first_chunk() else {
                self.held.extend_from_slice(rest);
                return &[];
            };
            each(packet);
            rest = self.skip_gap(stride, tail);
        }
        rest
    }

    fn skip_gap<'a>(&mut self, stride: usize, rest: &'a [u8]) -> &'a [u8] {
        let gap = stride - PACKET_BYTES;
        let skipped = gap.min(rest.len());
        self.state = State::Locked { stride, gap: gap - skipped };
        &rest[skipped..]
    }

    fn search(&mut self, last: bool, each: &mut impl FnMut(&[u8; PACKET_BYTES])) {
        let held = std::mem::take(&mut self.held);
        let mut start = 0;
        while let Some(offset) = memchr::memchr(SYNC_BYTE, &held[start..]) {
            start += offset;
            match judge(&held[start..], last) {
                Verdict::Stride(stride) => {
                    self.lost_bytes += start as u64;
                    self.state = State::Locked { stride, gap: 0 };
                    let rest = self.locked(stride, 0, &held[start..], each);
                    // Sync lost again inside the held bytes: what is left is searched with the next push.
                    self.held.extend_from_slice(rest);
                    if matches!(self.state, State::Searching) && !self.held.is_empty() {
                        self.search(last, each);
                    }
                    return;
                }
                Verdict::Unknown => {
                    self.lost_bytes += start as u64;
                    self.held.extend_from_slice(&held[start..]);
                    return;
                }
                Verdict::False => start += 1,
            }
        }
        self.lost_bytes += held.len() as u64;
    }
}

enum Verdict {
    Stride(usize),
    /// More bytes are needed.
    Unknown,
    False,
}

/// Whether packets begin at the start of `bytes`. With `last`, what is there has to do.
fn judge(bytes: &[u8], last: bool) -> Verdict {
    for stride in STRIDES {
        let mut hits = bytes.iter().step_by(stride).take(SYNC_HITS);
        if hits.clone().all(|&byte| byte == SYNC_BYTE) {
            return match hits.nth(SYNC_HITS - 1) {
                Some(_) => Verdict::Stride(stride),
                None if last && bytes.len() >= PACKET_BYTES => Verdict::Stride(stride),
                None if last => Verdict::False,
                None => Verdict::Unknown,
            };
        }
    }
    Verdict::False
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(count: u8, stride: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in 0..count {
            bytes.extend([SYNC_BYTE, 0x1f, 0xff, 0x10, number]);
            bytes.extend(std::iter::repeat_n(0xaa, stride - 5));
        }
        bytes
    }

    fn numbers(bytes: &[u8], chunk: usize) -> (Vec<u8>, Sync) {
        let mut sync = Sync::default();
        let mut seen = Vec::new();
        for piece in bytes.chunks(chunk) {
            sync.push(piece, |packet| seen.push(packet[4]));
        }
        sync.finish(|packet| seen.push(packet[4]));
        (seen, sync)
    }

    #[test]
    fn all_strides_in_all_chunks() {
        for stride in STRIDES {
            let bytes = stream(12, stride);
            for chunk in [1, 7, 187, 188, 189, 1316, 5000] {
                let (seen, sync) = numbers(&bytes, chunk);
                assert_eq!(seen, (0..12).collect::<Vec<_>>(), "stride {stride}, chunk {chunk}");
                assert_eq!((sync.lost_bytes(), sync.resyncs()), (0, 0));
            }
        }
    }

    #[test]
    fn dirty_start_and_false_sync_bytes() {
        let mut bytes = vec![0, 1, SYNC_BYTE, 3, SYNC_BYTE, SYNC_BYTE];
        bytes.resize(300, 0x11);
        bytes[2 + 188] = SYNC_BYTE;
        bytes.extend(stream(10, 188));
        for chunk in [1, 100, 1316] {
            let (seen, sync) = numbers(&bytes, chunk);
            assert_eq!(seen, (0..10).collect::<Vec<_>>());
            assert_eq!(sync.lost_bytes(), 300);
        }
    }

    #[test]
    fn one_damaged_sync_byte_costs_one_packet_and_a_slip_two() {
        let mut bytes = stream(12, 188);
        bytes[188 * 5] = 0;
        let (seen, sync) = numbers(&bytes, 1316);
        assert_eq!(seen, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]);
        assert_eq!((sync.lost_bytes(), sync.resyncs()), (188, 1));

        let mut bytes = stream(12, 188);
        bytes.drain(188 * 5 + 50..188 * 5 + 60);
        assert_eq!(numbers(&bytes, 33).0, [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn a_short_input_is_accepted_at_its_end() {
        assert_eq!(numbers(&stream(2, 188), 10).0, [0, 1]);
        assert!(numbers(&[SYNC_BYTE; 40], 10).0.is_empty());
    }

    #[test]
    fn garbage_is_not_kept() {
        let mut sync = Sync::default();
        for _ in 0..1000 {
            sync.push(&[0x11; 1316], |_| panic!("a packet in garbage"));
            sync.push(&[SYNC_BYTE, 0x11], |_| panic!("a packet in garbage"));
            assert!(sync.held.len() <= SEARCH_STEP_BYTES + 204 * SYNC_HITS);
        }
    }
}
