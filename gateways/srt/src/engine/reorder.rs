//! How long a gap may be nothing but a packet that was overtaken.

use super::Micros;
use super::ack::Rtt;
use super::limits::REORDER_HOLD_MIN;

/// Learns from originals that arrive after they were found missing. Time, not packets as in libsrt's tolerance: how far
/// a packet is overtaken depends on the path, how many overtake it on the rate.
#[derive(Debug)]
pub(crate) struct Reorder {
    /// Whether the peer marks retransmissions; otherwise they cannot be told from late originals.
    marked: bool,
    latency: Micros,
    seen: Micros,
}

impl Reorder {
    pub(crate) fn new(marked: bool, latency: Micros) -> Self {
        Self { marked, latency, seen: 0 }
    }

    /// A packet without the R bit arrived, `late` after it was found missing.
    pub(crate) fn on_original(&mut self, late: Option<Micros>) {
        match late {
            Some(late) if self.marked => self.seen = self.seen.max(late + late / 8),
            // Forgotten within some thousand packets.
            _ => self.seen -= self.seen / 1024,
        }
    }

    /// How long a fresh gap waits before it is reported: an eighth of the round trip, or what is known to happen, but
    /// never so long that two more round trips do not fit the latency.
    pub(crate) fn hold(&self, rtt: &Rtt) -> Micros {
        let short = (rtt.mean / 8).min(REORDER_HOLD_MIN);
        let long = (rtt.mean / 2).min(self.latency / 8);
        self.seen.min(long).max(short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtt(mean: Micros) -> Rtt {
        let mut rtt = Rtt::default();
        rtt.sample(mean);
        rtt
    }

    #[test]
    fn the_hold_follows_what_happens_within_bounds() {
        let mut reorder = Reorder::new(true, 400_000);
        assert_eq!(reorder.hold(&rtt(40_000)), 5_000);
        assert_eq!(reorder.hold(&rtt(200_000)), REORDER_HOLD_MIN);
        reorder.on_original(Some(16_000));
        assert_eq!(reorder.hold(&rtt(40_000)), 18_000);
        reorder.on_original(Some(300_000));
        assert_eq!(reorder.hold(&rtt(40_000)), 20_000, "half of the round trip");
        assert_eq!(reorder.hold(&rtt(200_000)), 50_000, "an eighth of the latency");
        for _ in 0..10_000 {
            reorder.on_original(None);
        }
        assert_eq!(reorder.hold(&rtt(40_000)), 5_000);
    }

    #[test]
    fn unmarked_retransmissions_teach_nothing() {
        let mut reorder = Reorder::new(false, 400_000);
        reorder.on_original(Some(50_000));
        assert_eq!(reorder.hold(&rtt(40_000)), 5_000);
    }
}
