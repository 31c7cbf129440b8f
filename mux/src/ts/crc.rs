//! CRC-32/MPEG-2 (H.222.0 annex A): polynomial 04C11DB7, start FFFFFFFF, not reflected, no final inversion.

/// The checksum of `bytes`; 0 over a section that includes its own checksum.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(u32::MAX, |crc, &byte| (crc << 8) ^ TABLE[((crc >> 24) ^ u32::from(byte)) as usize & 0xff])
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 != 0 { (crc << 1) ^ 0x04c1_1db7 } else { crc << 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogued_check_value() {
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
    }
}
