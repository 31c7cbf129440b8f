//! Splice sections name moments on the clock of their stream; on our timeline those moments lie elsewhere.

use super::crc::crc32;

const TABLE_SPLICE: u8 = 0xfc;

/// Adds `offset` (33 bits at 90 kHz) to the section's pts_adjustment and renews its checksum (SCTE 35 section 9.6).
///
/// Times inside the section, encrypted ones too, then mean the same moments of the new timeline. Other sections stay as
/// they are.
pub(crate) fn restamp(section: &mut [u8], offset: u64) {
    let Some((body, [.., _, _, _, _])) = section.split_at_mut_checked(section.len().saturating_sub(4)) else {
        return;
    };
    if body.first() != Some(&TABLE_SPLICE) || body.len() < 9 {
        return;
    }
    let field = body[4..9].iter().fold(0u64, |field, &byte| field << 8 | u64::from(byte));
    let mask = (1 << 33) - 1;
    let moved = (field & !mask) | (((field & mask) + offset) & mask);
    body[4..9].copy_from_slice(&moved.to_be_bytes()[3..]);
    let crc = crc32(body);
    let end = body.len();
    section[end..].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjustment_moves_and_the_checksum_follows() {
        let mut section =
            vec![0xfc, 0x30, 17, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xf0, 0, 0, 0, 0, 0, 0, 0, 0];
        restamp(&mut section, 11);
        assert_eq!(section[4..9], [0x7e, 0, 0, 0, 10], "33 bits wrap, the bits in front stay");
        assert_eq!(crc32(&section), 0);
    }

    #[test]
    fn other_and_short_sections_stay() {
        for bytes in [&[][..], &[0xfc, 0, 0], &[0x42; 20], &[0xfc; 12]] {
            let mut section = bytes.to_vec();
            restamp(&mut section, 5);
            assert_eq!(section, bytes);
        }
    }
}
