//! QUIC variable-length integers (RFC 9000 section 16) and the zigzag form of signed deltas.

use bytes::{BufMut, BytesMut};

/// Largest value a QUIC varint can carry: 2^62 - 1.
pub const MAX: u64 = (1 << 62) - 1;

/// Reads the varint at the front of `bytes`: its value and how many bytes it took. `None` = more bytes needed.
/// Non-minimal forms are accepted, as the RFC asks.
pub(super) fn peek(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1_usize << (first >> 6);
    let tail = bytes.get(1..length)?;
    let value = tail.iter().fold(u64::from(first & 0x3f), |value, byte| (value << 8) | u64::from(*byte));
    Some((value, length))
}

/// Appends `value` in its shortest form. Values above [`MAX`] saturate: costs and bounds mean "as large as can be"
/// there, and identifiers count up from zero.
pub(super) fn put(out: &mut BytesMut, value: u64) {
    let value = value.min(MAX);
    match value {
        0..=0x3f => out.put_uint(value, 1),
        0x40..=0x3fff => out.put_uint(value | (1 << 14), 2),
        0x4000..=0x3fff_ffff => out.put_uint(value | (2 << 30), 4),
        _ => out.put_u64(value | (3 << 62)),
    }
}

/// Maps a signed delta to an unsigned one: 0, -1, 1, -2 become 0, 1, 2, 3.
pub(super) fn zigzag(value: i64) -> u64 {
    value.unsigned_abs().wrapping_mul(2).wrapping_sub(u64::from(value < 0))
}

/// The inverse of [`zigzag`].
pub(super) fn unzigzag(value: u64) -> i64 {
    let half = i64::try_from(value >> 1).unwrap_or(i64::MAX);
    if value & 1 == 0 { half } else { -half - 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(value: u64, expected: &[u8]) {
        let mut out = BytesMut::new();
        put(&mut out, value);
        assert_eq!(&out[..], expected);
        assert_eq!(peek(expected), Some((value, expected.len())));
        for cut in 0..expected.len() {
            assert_eq!(peek(&expected[..cut]), None);
        }
    }

    #[test]
    fn vectors() {
        check(37, &[0x25]);
        check(63, &[0x3f]);
        check(64, &[0x40, 0x40]);
        check(16383, &[0x7f, 0xff]);
        check(16384, &[0x80, 0x00, 0x40, 0x00]);
        check(1 << 30, &[0xc0, 0, 0, 0, 0x40, 0, 0, 0]);
        check(MAX, &[0xff; 8]);
        assert_eq!(peek(&[0x40, 0x25]), Some((37, 2)), "non-minimal forms are legal");
    }

    #[test]
    fn too_large_saturates() {
        let mut out = BytesMut::new();
        put(&mut out, u64::MAX);
        assert_eq!(peek(&out), Some((MAX, 8)));
    }

    #[test]
    fn zigzag_vectors() {
        for (value, coded) in [(0, 0), (-1, 1), (1, 2), (-2, 3), (2, 4), (33_333, 66_666), (-33_333, 66_665)]
        {
            assert_eq!(zigzag(value), coded);
            assert_eq!(unzigzag(coded), value);
        }
    }

    proptest! {
        #[test]
        fn round_trips(value in 0..=MAX, signed: i64) {
            let mut out = BytesMut::new();
            put(&mut out, value);
            prop_assert_eq!(peek(&out), Some((value, out.len())));
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }
    }
}
