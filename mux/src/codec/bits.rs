//! Reading bits, most significant first.

/// A position in a slice of bytes. Every read past the end is `None` and every later one too.
#[derive(Clone, Debug)]
pub(crate) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// The next `count` bits, at most 32.
    pub(crate) fn read(&mut self, count: u32) -> Option<u32> {
        let mut value = 0u64;
        let mut left = count.min(32) as usize;
        while left > 0 {
            let byte = *self.data.get(self.at / 8)?;
            let free = 8 - self.at % 8;
            let take = free.min(left);
            let bits = (u32::from(byte) >> (free - take)) & ((1 << take) - 1);
            value = (value << take) | u64::from(bits);
            self.at += take;
            left -= take;
        }
        u32::try_from(value).ok()
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        self.read(1).map(|bit| bit == 1)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.read(8).and_then(|value| u8::try_from(value).ok())
    }

    pub(crate) fn skip(&mut self, count: usize) -> Option<()> {
        let at = self.at.checked_add(count)?;
        (at <= self.data.len() * 8).then(|| self.at = at)
    }

    /// Exp-Golomb, unsigned (H.264 section 9.1).
    pub(crate) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.read(zeros)?;
        (1u32 << zeros).checked_add(rest)?.checked_sub(1)
    }

    /// Exp-Golomb, signed.
    pub(crate) fn se(&mut self) -> Option<i32> {
        let code = i64::from(self.ue()?);
        let half = (code + 1) / 2;
        i32::try_from(if code % 2 == 0 { -half } else { half }).ok()
    }

    /// Bits read so far.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Bits that are left.
    pub(crate) fn remaining(&self) -> usize {
        (self.data.len() * 8).saturating_sub(self.at)
    }
}

/// Puts bits together, most significant first.
#[derive(Debug, Default)]
pub(crate) struct BitWriter {
    data: Vec<u8>,
    used: usize,
}

impl BitWriter {
    /// Appends the low `count` bits of `value`.
    pub(crate) fn write(&mut self, value: u32, count: u32) {
        for shift in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.data.push(0);
            }
            let bit = u8::from((value >> shift) & 1 == 1);
            if let Some(last) = self.data.last_mut() {
                *last |= bit << (7 - self.used % 8);
            }
            self.used += 1;
        }
    }

    /// Appends an unsigned Exp-Golomb code.
    #[cfg(test)]
    pub(crate) fn ue(&mut self, value: u32) {
        let length = 32 - (value + 1).leading_zeros();
        self.write(0, length - 1);
        self.write(value + 1, length);
    }

    /// Fills the last byte up with zero bits.
    pub(crate) fn align(&mut self) {
        self.used = self.used.next_multiple_of(8);
    }

    /// What was written, filled up with zero bits.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golomb_codes() {
        // 1 010 011 00100 00101 -> 0 1 2 3 4
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        for expected in 0..5 {
            assert_eq!(bits.ue(), Some(expected));
        }
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        for expected in [0, 1, -1, 2, -2] {
            assert_eq!(bits.se(), Some(expected));
        }
    }

    proptest! {
        #[test]
        fn writes_what_it_reads(values in prop::collection::vec((any::<u32>(), 1u32..=32), 0..40)) {
            let mut writer = BitWriter::default();
            for (value, count) in &values {
                writer.write(*value, *count);
            }
            let data = writer.finish();
            let mut bits = Bits::new(&data);
            for (value, count) in &values {
                let mask = if *count == 32 { u32::MAX } else { (1 << count) - 1 };
                prop_assert_eq!(bits.read(*count), Some(value & mask));
            }
            prop_assert!(bits.remaining() < 8);
        }

        #[test]
        fn survives_anything(data in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut bits = Bits::new(&data);
            while bits.ue().is_some() {}
            while bits.se().is_some() {}
            while bits.read(32).is_some() {}
        }
    }
}
