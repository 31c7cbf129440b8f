//! NAL units in a byte stream (H.264 and H.265 Annex B).

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// What stands in front of every unit that we write.
pub(crate) const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Length of the shortest start code.
pub(crate) const SHORT_CODE: usize = 3;

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(&[0, 0, 1]));

/// Positions of all start codes (`00 00 01`) in `data` from `from` on.
pub(crate) fn start_codes(data: &[u8], from: usize) -> impl Iterator<Item = usize> {
    let rest = data.get(from..).unwrap_or_default();
    FINDER.find_iter(rest).map(move |hit| from + hit)
}

/// `nal` without the zero bytes behind it; they belong to the byte stream. A unit itself never ends in one
/// (`cabac_zero_words` end in 03).
pub(crate) fn trim(nal: &[u8]) -> &[u8] {
    let end = nal.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &nal[..end]
}

/// The first `limit` bytes of a unit's content, without emulation prevention.
pub(crate) fn unescape(nal: &[u8], limit: usize) -> Vec<u8> {
    plain(nal).take(limit).collect()
}

/// The first bytes of a unit's content, as many as a slice header needs, on the stack: there is one per picture and
/// slice.
pub(crate) fn unescape_head<const SIZE: usize>(nal: &[u8]) -> ([u8; SIZE], usize) {
    let mut head = [0; SIZE];
    let mut length = 0;
    for (slot, byte) in head.iter_mut().zip(plain(nal)) {
        *slot = byte;
        length += 1;
    }
    (head, length)
}

fn plain(nal: &[u8]) -> impl Iterator<Item = u8> {
    let mut zeros = 0;
    nal.iter().copied().filter(move |&byte| {
        let escape = zeros >= 2 && byte == 3;
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        !escape
    })
}

/// Longest unit whose whole content is parsed. Parameter sets and SEI are some hundred bytes; 4 KiB leaves room for
/// scaling matrices.
pub(crate) const PARSED_BYTES_MAX: usize = 4096;

/// The first `payload_type` SEI message of a SEI unit's unescaped payload (after the NAL header).
pub(crate) fn sei_payload(rbsp: &[u8], payload_type: u32) -> Option<&[u8]> {
    let mut rest = rbsp;
    // More than one message per unit is common, more than a trailing byte has to be left for another.
    while rest.len() > 2 {
        let (kind, after) = sei_number(rest)?;
        let (size, after) = sei_number(after)?;
        let body = after.get(..size as usize)?;
        if kind == payload_type {
            return Some(body);
        }
        rest = &after[size as usize..];
    }
    None
}

fn sei_number(data: &[u8]) -> Option<(u32, &[u8])> {
    let full = data.iter().position(|&byte| byte != 0xff)?;
    let value = u32::try_from(full).ok()? * 255 + u32::from(data[full]);
    Some((value, &data[full + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_codes_of_both_lengths() {
        let data = [9, 0, 0, 1, 5, 0, 0, 0, 1, 6, 0, 0];
        assert_eq!(start_codes(&data, 0).collect::<Vec<_>>(), [1, 6]);
        assert_eq!(start_codes(&data, 2).collect::<Vec<_>>(), [6]);
        assert_eq!(start_codes(&data, 99).count(), 0);
    }

    #[test]
    fn strips_zeros_and_emulation() {
        assert_eq!(trim(&[1, 0, 3, 0, 0]), [1, 0, 3]);
        assert!(trim(&[0, 0]).is_empty());
        assert_eq!(unescape(&[1, 0, 0, 3, 1, 0, 0, 3], 99), [1, 0, 0, 1, 0, 0]);
        assert_eq!(unescape(&[1, 0, 0, 3, 1], 4), [1, 0, 0, 1]);
        assert_eq!(unescape_head(&[1, 0, 0, 3, 1]), ([1, 0, 0, 1, 0, 0], 4));
        assert_eq!(unescape_head(&[1, 0, 0, 3, 1]), ([1, 0], 2));
    }

    #[test]
    fn reads_the_wanted_sei() {
        let rbsp = [5, 2, 0xaa, 0xbb, 6, 1, 0xc4, 0x80];
        assert_eq!(sei_payload(&rbsp, 6), Some(&[0xc4][..]));
        assert_eq!(sei_payload(&rbsp, 1), None);
        assert_eq!(sei_payload(&[6, 200, 1], 6), None);
    }
}
