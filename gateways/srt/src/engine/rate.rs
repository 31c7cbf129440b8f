//! Rates: what an ACK reports about the link (draft-sharabayko-srt section 5.1.3 as libsrt does it), and the meters of
//! the statistics.

use super::Micros;
use super::limits::{HEADER_BYTES, METER_WINDOW};
use crate::wire::Seq;

/// Arrival gaps kept for the receive rate.
const GAPS: usize = 16;

/// Packet pairs kept for the link capacity.
const PAIRS: usize = 64;

/// libsrt's capacity before it has measured one, packets per second.
const INITIAL_CAPACITY: u32 = 1000;

/// Size that a pair's gap is normalised to, bytes.
const FULL_SIZE: u64 = 1500;

/// The receive rate and link capacity of an ACK.
#[derive(Debug)]
pub(crate) struct Arrivals {
    gaps: [(u32, u32); GAPS],
    at: usize,
    last: Option<Micros>,
    pairs: [u32; PAIRS],
    pair_at: usize,
    pair_count: usize,
    /// The first half of a pair that may be completed next.
    probe: Option<(Seq, Micros)>,
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        Self {
            gaps: [(0, 0); GAPS],
            at: 0,
            last: None,
            pairs: [0; PAIRS],
            pair_at: 0,
            pair_count: 0,
            probe: None,
        }
    }

    /// A data packet that was not a retransmission arrived, with `len` bytes of payload.
    pub(crate) fn on_packet(&mut self, seq: Seq, len: usize, now: Micros) {
        let size = len as u64 + HEADER_BYTES;
        if let Some(last) = self.last {
            // A gap of 0 would mean "none yet".
            let gap = (now - last).clamp(1, Micros::from(u32::MAX)) as u32;
            self.gaps[self.at] = (gap, size as u32);
            self.at = (self.at + 1) % GAPS;
        }
        self.last = Some(now);
        if seq.raw() & 15 == 0 {
            self.probe = Some((seq, now));
        } else if let Some((_, at)) = self.probe.take().filter(|(first, _)| first.next() == seq) {
            let gap = (now - at).clamp(1, 1_000_000) as u64;
            self.pairs[self.pair_at] = (gap * FULL_SIZE / size) as u32;
            self.pair_at = (self.pair_at + 1) % PAIRS;
            self.pair_count = (self.pair_count + 1).min(PAIRS);
        }
    }

    /// Packets and bytes (headers included) per second, over the last sixteen arrivals; 0 if they are too uneven.
    pub(crate) fn rate(&self) -> (u32, u32) {
        let mut sorted = self.gaps.map(|(gap, _)| gap);
        sorted.sort_unstable();
        let median = sorted[GAPS / 2];
        let (mut count, mut sum, mut bytes) = (0u64, 0u64, 0u64);
        for &(gap, size) in self.gaps.iter().filter(|(gap, _)| near(*gap, median)) {
            count += 1;
            sum += u64::from(gap);
            bytes += u64::from(size);
        }
        if count <= GAPS as u64 / 2 {
            return (0, 0);
        }
        (per_second(count, sum), per_second(bytes, sum))
    }

    /// Packets per second that the link can carry, from pairs that were sent back to back.
    pub(crate) fn capacity(&self) -> u32 {
        if self.pair_count == 0 {
            return INITIAL_CAPACITY;
        }
        let mut sorted = self.pairs;
        let sorted = &mut sorted[..self.pair_count];
        sorted.sort_unstable();
        let median = sorted[self.pair_count / 2];
        let (mut count, mut sum) = (0u64, 0u64);
        for &gap in sorted.iter().filter(|gap| near(**gap, median)) {
            count += 1;
            sum += u64::from(gap.max(1));
        }
        if count == 0 { INITIAL_CAPACITY } else { per_second(count, sum) }
    }
}

/// The filter of both estimates: within a factor of eight of the median.
fn near(gap: u32, median: u32) -> bool {
    gap > median / 8 && u64::from(gap) < u64::from(median) * 8
}

fn per_second(count: u64, micros: u64) -> u32 {
    (count * 1_000_000 / micros.max(1)).min(u64::from(u32::MAX)) as u32
}

/// Bytes per second over the last full window.
#[derive(Debug)]
pub(crate) struct Meter {
    opened_at: Micros,
    bytes: u64,
    rate: f64,
}

impl Meter {
    pub(crate) fn new(now: Micros) -> Self {
        Self { opened_at: now, bytes: 0, rate: 0.0 }
    }

    /// `bytes` passed.
    pub(crate) fn add(&mut self, bytes: u64, now: Micros) {
        if now - self.opened_at >= METER_WINDOW {
            self.rate = self.bytes as f64 * 1e6 / (now - self.opened_at) as f64;
            self.bytes = 0;
            self.opened_at = now;
        }
        self.bytes += bytes;
    }

    /// Bytes per second; falls to zero once nothing passes any more.
    pub(crate) fn rate(&self, now: Micros) -> f64 {
        let open = now - self.opened_at;
        if open >= METER_WINDOW { self.bytes as f64 * 1e6 / open as f64 } else { self.rate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_of_an_even_stream() {
        let mut arrivals = Arrivals::new();
        assert_eq!(arrivals.rate(), (0, 0));
        assert_eq!(arrivals.capacity(), 1000);
        for packet in 0..64u32 {
            arrivals.on_packet(Seq::new(packet), 1316, Micros::from(packet) * 2_000);
        }
        assert_eq!(arrivals.rate(), (500, 680_000));
        assert_eq!(arrivals.capacity(), 453);
    }

    #[test]
    fn pauses_do_not_count() {
        let mut arrivals = Arrivals::new();
        let mut now = 0;
        for packet in 0..64u32 {
            now += if packet % 8 == 0 { 100_000 } else { 1_000 };
            arrivals.on_packet(Seq::new(packet), 1316, now);
        }
        assert_eq!(arrivals.rate().0, 1000);
    }

    #[test]
    fn meter_follows_and_falls() {
        let mut meter = Meter::new(0);
        for tick in 0..300 {
            meter.add(1000, tick * 10_000);
        }
        assert!((meter.rate(3_000_000) - 100_000.0).abs() < 1_000.0, "{}", meter.rate(3_000_000));
        assert!(meter.rate(60_000_000) < 2_000.0);
    }
}
