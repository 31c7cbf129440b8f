//! The loss list of a NAK packet (draft-sharabayko-srt section 3.2.5 and appendix A).
//!
//! One word with bit 31 clear is one lost packet. A word with bit 31 set opens an inclusive range which the next
//! word closes. A range is kept as its two ends: a peer names 2^30 packets in eight bytes.

use bytes::BufMut;

use super::Seq;

/// Bit 31 of the first word of a range.
const RANGE: u32 = 0x8000_0000;

/// Most words in one NAK: the CIF of a packet that fits an MTU of 1500 (IP 20, UDP 8, header 16).
pub const MAX_WORDS: usize = 1456 / 4;

/// An inclusive run of lost packets, first and last.
pub type Range = (Seq, Seq);

/// A loss list, clipped to what the sender still holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LossList {
    /// Runs within `oldest ..= newest`, in the order of the packet; they may overlap.
    pub ranges: Vec<Range>,
    /// Hull of what was asked for but is older than `oldest`: the material of one drop request.
    pub stale: Option<Range>,
}

/// Why a loss list is refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LossListError {
    /// Empty, or not a whole number of words.
    #[error("loss list is not a whole number of words")]
    Length,
    /// The last word opens a range, or a range is opened inside one.
    #[error("loss list has an open range")]
    OpenRange,
    /// The end of a range is older than its beginning.
    #[error("loss list has a reversed range")]
    Reversed,
    /// It names a packet newer than the newest one sent.
    #[error("loss list names a packet that was never sent")]
    NeverSent,
}

/// Reads a loss list and clips it to `oldest ..= newest`, the packets in the sender's buffer.
///
/// Never expands a range: the result has at most one entry per word of `body`.
///
/// # Errors
/// Any malformed entry refuses the whole list, so that a hostile NAK has no partial effect.
pub fn decode(body: &[u8], oldest: Seq, newest: Seq) -> Result<LossList, LossListError> {
    let (words, rest) = body.as_chunks::<4>();
    if words.is_empty() || !rest.is_empty() {
        return Err(LossListError::Length);
    }
    let mut list = LossList::default();
    let mut words = words.iter().map(|word| u32::from_be_bytes(*word));
    while let Some(word) = words.next() {
        let first = Seq::new(word);
        let last = if word & RANGE == 0 {
            first
        } else {
            match words.next() {
                Some(last) if last & RANGE == 0 => Seq::new(last),
                _ => return Err(LossListError::OpenRange),
            }
        };
        if first.is_after(last) {
            return Err(LossListError::Reversed);
        }
        if last.is_after(newest) {
            return Err(LossListError::NeverSent);
        }
        list.clip(first, last, oldest);
    }
    Ok(list)
}

impl LossList {
    fn clip(&mut self, first: Seq, last: Seq, oldest: Seq) {
        if oldest.is_after(first) {
            let end = if oldest.is_after(last) { last } else { oldest.previous() };
            self.stale = Some(match self.stale {
                None => (first, end),
                Some((from, to)) => {
                    (if from.is_after(first) { first } else { from }, if end.is_after(to) { end } else { to })
                }
            });
        }
        if !oldest.is_after(last) {
            self.ranges.push((if oldest.is_after(first) { oldest } else { first }, last));
        }
    }
}

/// Writes `ranges` until they end or `max_words` (see [`MAX_WORDS`]) are used, and returns how many were written.
pub fn encode(ranges: impl IntoIterator<Item = Range>, max_words: usize, out: &mut impl BufMut) -> usize {
    let mut words = 0;
    let mut written = 0;
    for (first, last) in ranges {
        let need = if first == last { 1 } else { 2 };
        if words + need > max_words {
            break;
        }
        if need == 2 {
            out.put_u32(first.raw() | RANGE);
        }
        out.put_u32(last.raw());
        words += need;
        written += 1;
    }
    written
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn seqs(list: &[(u32, u32)]) -> Vec<Range> {
        list.iter().map(|&(a, b)| (Seq::new(a), Seq::new(b))).collect()
    }

    #[test]
    fn recorded_single_and_range() {
        let (oldest, newest) = (Seq::new(0x6897_b600), Seq::new(0x6897_b6f2));
        let range = decode(&bytes(&[0xe897_b6de, 0x6897_b6e0]), oldest, newest).expect("range");
        assert_eq!(range.ranges, seqs(&[(0x6897_b6de, 0x6897_b6e0)]));
        let single = decode(&bytes(&[0x6897_b6f2]), oldest, newest).expect("single");
        assert_eq!(single.ranges, seqs(&[(0x6897_b6f2, 0x6897_b6f2)]));
        let mut out = Vec::new();
        assert_eq!(encode(range.ranges.into_iter().chain(single.ranges), MAX_WORDS, &mut out), 2);
        assert_eq!(out, bytes(&[0xe897_b6de, 0x6897_b6e0, 0x6897_b6f2]));
    }

    #[test]
    fn a_range_may_cross_the_wrap() {
        let list = decode(&bytes(&[0xffff_fffe, 1]), Seq::new(0x7fff_fff0), Seq::new(5)).expect("wrap");
        assert_eq!(list.ranges, seqs(&[(0x7fff_fffe, 1)]));
    }

    #[test]
    fn clips_to_the_buffer_and_reports_the_stale_part() {
        let words = bytes(&[10, 0x8000_0000 | 20, 120, 150]);
        let list = decode(&words, Seq::new(100), Seq::new(200)).expect("valid");
        assert_eq!(list.ranges, seqs(&[(100, 120), (150, 150)]));
        assert_eq!(list.stale, Some((Seq::new(10), Seq::new(99))));
    }

    #[test]
    fn hostile_lists_are_refused_whole() {
        let refuse = |words: &[u32]| decode(&bytes(words), Seq::new(100), Seq::new(200)).unwrap_err();
        assert_eq!(refuse(&[]), LossListError::Length);
        assert_eq!(decode(&[0, 0, 0, 150, 0], Seq::new(100), Seq::new(200)), Err(LossListError::Length));
        assert_eq!(refuse(&[150, 0x8000_0000 | 160]), LossListError::OpenRange);
        assert_eq!(refuse(&[0x8000_0000 | 150, 0x8000_0000 | 160]), LossListError::OpenRange);
        assert_eq!(refuse(&[0x8000_0000 | 160, 150]), LossListError::Reversed);
        assert_eq!(refuse(&[201]), LossListError::NeverSent);
        assert_eq!(refuse(&[0x8000_0000 | 150, 201]), LossListError::NeverSent);
    }

    #[test]
    fn encode_stops_before_half_a_range() {
        let mut out = Vec::new();
        let ranges = seqs(&[(1, 1), (3, 9), (11, 11)]);
        assert_eq!(encode(ranges, 2, &mut out), 1);
        assert_eq!(out, bytes(&[1]));
    }

    proptest! {
        #[test]
        fn any_bytes_stay_inside_the_window(body: Vec<u8>, oldest: u32, span in 0i32..100_000) {
            let oldest = Seq::new(oldest);
            let newest = oldest.plus(span);
            if let Ok(list) = decode(&body, oldest, newest) {
                prop_assert!(list.ranges.len() <= body.len() / 4);
                for (first, last) in list.ranges {
                    prop_assert!(first.minus(oldest) >= 0 && last.minus(first) >= 0 && newest.minus(last) >= 0);
                }
            }
        }

        #[test]
        fn what_is_written_reads_back(start: u32, runs in proptest::collection::vec((1i32..50, 0i32..50), 1..100)) {
            let oldest = Seq::new(start);
            let mut at = oldest;
            let ranges: Vec<Range> = runs.iter().map(|&(gap, len)| {
                let first = at.plus(gap);
                at = first.plus(len);
                (first, at)
            }).collect();
            let mut out = Vec::new();
            encode(ranges.iter().copied(), MAX_WORDS, &mut out);
            let list = decode(&out, oldest, at).expect("own output");
            prop_assert_eq!(list.ranges, ranges);
            prop_assert_eq!(list.stale, None);
        }
    }
}
