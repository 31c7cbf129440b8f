//! Acknowledgements (RTMP 5.4.3): the running total of what arrived, modulo 2^32.

/// What a peer that asks for none gets, and what we ask for: what Flash Media Server announces.
pub const DEFAULT_WINDOW: u32 = 2_500_000;

/// Smallest window that is followed; a smaller one is only good for making us talk.
const MIN_WINDOW: u32 = 4096;

/// Counts received bytes and says when an acknowledgement is due.
#[derive(Debug, Clone)]
pub struct Acks {
    window: u32,
    total: u64,
    told: u64,
}

impl Default for Acks {
    fn default() -> Self {
        Self { window: DEFAULT_WINDOW, total: 0, told: 0 }
    }
}

impl Acks {
    /// The peer's wish for how many bytes there are between acknowledgements; 0 is the default.
    pub fn set_window(&mut self, window: u32) {
        self.window = if window == 0 { DEFAULT_WINDOW } else { window.max(MIN_WINDOW) };
    }

    /// Adds `bytes` that arrived. Returns the number to acknowledge, once the window is full.
    pub fn received(&mut self, bytes: usize) -> Option<u32> {
        self.total += bytes as u64;
        if self.total - self.told < u64::from(self.window) {
            return None;
        }
        self.told = self.total;
        // The wire has 32 bits: the total wraps there.
        Some((self.total & u64::from(u32::MAX)) as u32)
    }

    /// Bytes since the connection began.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_carries_the_running_total() {
        let mut acks = Acks::default();
        acks.set_window(10_000);
        assert_eq!(acks.received(9_999), None);
        assert_eq!(acks.received(1), Some(10_000));
        assert_eq!(acks.received(9_000), None);
        // The total, not the 11 000 since the last one.
        assert_eq!(acks.received(2_000), Some(21_000));
    }

    #[test]
    fn the_total_wraps_at_32_bits() {
        let mut acks =
            Acks { total: u64::from(u32::MAX) - 10, told: u64::from(u32::MAX) - 10, ..Acks::default() };
        acks.set_window(4096);
        assert_eq!(acks.received(5011), Some(5000));
    }

    #[test]
    fn a_tiny_window_does_not_make_us_talk() {
        let mut acks = Acks::default();
        acks.set_window(1);
        assert_eq!(acks.received(4095), None);
        acks.set_window(0);
        assert_eq!(acks.received(100_000), None);
    }
}
