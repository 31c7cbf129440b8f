//! 31-bit packet sequence numbers.

use std::fmt;

/// A packet sequence number: 31 bits, the successor of `0x7FFF_FFFF` is 0.
///
/// There is no `Ord`: the order of two numbers means something only while they are within 2^30 of each other, which
/// is what [`Seq::minus`] answers. Keep 64-bit indexes inside, unwrapped against the newest number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Seq(u32);

impl Seq {
    /// Largest number, also the mask of the field.
    pub const MAX: u32 = 0x7FFF_FFFF;

    /// The low 31 bits of `raw`.
    pub const fn new(raw: u32) -> Self {
        Self(raw & Self::MAX)
    }

    /// The number as it stands on the wire.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The number that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The number that precedes.
    #[must_use]
    pub const fn previous(self) -> Self {
        self.plus(-1)
    }

    /// The number `count` steps on (back, if negative).
    #[must_use]
    pub const fn plus(self, count: i32) -> Self {
        Self::new(self.0.wrapping_add_signed(count))
    }

    /// Steps from `other` to `self`, in `-2^30 .. 2^30`: negative when `self` is older.
    pub const fn minus(self, other: Self) -> i32 {
        // Moves the 31-bit difference to the top, so that the arithmetic shift back extends its sign.
        ((self.0.wrapping_sub(other.0) << 1) as i32) >> 1
    }

    /// Whether `self` comes after `other`.
    pub const fn is_after(self, other: Self) -> bool {
        self.minus(other) > 0
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seq({:#010x})", self.0)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wraps_in_both_directions() {
        assert_eq!(Seq::new(Seq::MAX).next(), Seq::new(0));
        assert_eq!(Seq::new(0).previous(), Seq::new(Seq::MAX));
        assert_eq!(Seq::new(1).minus(Seq::new(Seq::MAX)), 2);
        assert_eq!(Seq::new(Seq::MAX).minus(Seq::new(1)), -2);
        assert!(Seq::new(0).is_after(Seq::new(Seq::MAX)));
        assert_eq!(Seq::new(0x4000_0000).minus(Seq::new(0)), -(1 << 30));
    }

    proptest! {
        #[test]
        fn minus_undoes_plus(raw: u32, step in -(1i32 << 30)..(1 << 30)) {
            let seq = Seq::new(raw);
            prop_assert_eq!(seq.plus(step).minus(seq), step);
            prop_assert_eq!(seq.plus(step).plus(-step), seq);
        }
    }
}
