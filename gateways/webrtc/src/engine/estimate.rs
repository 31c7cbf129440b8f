//! What the link to a player carries, by its transport-wide feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rtc::interceptor::{BandwidthEstimator, Gcc, PacketReport};

/// What is believed of a link before anything was heard of it, bits per second.
pub(super) const START: u64 = 6_000_000;
/// The bounds of an estimate: one of sound, and more than any broadcast.
const BOUNDS: (f64, f64) = (64_000.0, 200_000_000.0);
/// What arrived is looked at over this time: a keyframe and what follows it.
const WINDOW: Duration = Duration::from_secs(2);
/// Most reports in it, beside which older ones are forgotten: one for each feedback, every 50 ms as browsers send it.
const REPORTS_MAX: usize = 256;
/// A link carries nearly what it has carried, whatever delay says.
const PROVEN: f64 = 0.9;
/// Until the link has shown a limit it is believed to carry half as much again: delay tells too slowly of a fast one.
const RISING: f64 = 1.5;

/// The estimate as all parts of a peer see it.
#[derive(Debug, Default)]
pub(super) struct Estimate(AtomicU64);

impl Estimate {
    /// Bits per second. `None` before the first feedback.
    pub(super) fn get(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|bits| *bits > 0)
    }

    fn set(&self, bits: f64) {
        self.0.store(bits as u64, Relaxed);
    }
}

/// The library's estimator (Google congestion control) corrected by what arrives: alone it takes two keyframes' distance
/// for a limit, when a broadcast sends in bursts, and rises too slowly for media that is not made for this link.
pub(super) struct Estimator {
    gcc: Gcc,
    shared: Arc<Estimate>,
    arrived: VecDeque<(Instant, usize)>,
    bytes: usize,
    began: Option<Instant>,
    last: f64,
    limited: bool,
}

impl Estimator {
    pub(super) fn new(shared: Arc<Estimate>) -> Self {
        let last = START as f64;
        let gcc = Gcc::new(last, BOUNDS.0, BOUNDS.1);
        Self { gcc, shared, arrived: VecDeque::new(), bytes: 0, began: None, last, limited: false }
    }

    /// What arrived, bits per second.
    fn proven(&mut self, now: Instant, bytes: usize) -> f64 {
        let began = *self.began.get_or_insert(now);
        self.arrived.push_back((now, bytes));
        self.bytes += bytes;
        while let Some((at, bytes)) = self.arrived.front().copied() {
            if now.saturating_duration_since(at) <= WINDOW && self.arrived.len() <= REPORTS_MAX {
                break;
            }
            self.arrived.pop_front();
            self.bytes -= bytes;
        }
        let span = now.saturating_duration_since(began).clamp(WINDOW / 4, WINDOW);
        self.bytes as f64 * 8.0 / span.as_secs_f64()
    }
}

impl BandwidthEstimator for Estimator {
    fn on_reports(&mut self, now: Instant, reports: &[PacketReport]) {
        if reports.is_empty() {
            return;
        }
        self.gcc.on_reports(now, reports);
        let target = self.gcc.target_bitrate();
        self.limited |= target < self.last;
        self.last = target;
        let bytes = reports.iter().filter(|report| report.arrived).map(|report| report.size).sum();
        let proven = self.proven(now, bytes);
        let factor = if self.limited { PROVEN } else { RISING };
        self.shared.set(target.max(proven * factor));
    }

    fn target_bitrate(&self) -> f64 {
        self.last
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.gcc.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.gcc.poll_timeout()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link of one queue: `rate` bits per second, `queue` of time, `loss` of 100 packets.
    struct Link {
        rate: f64,
        queue: f64,
        loss: u64,
        free_at: f64,
        sent: u64,
    }

    impl Link {
        fn new(rate: f64, loss: u64) -> Self {
            Self { rate, queue: 0.3, loss, free_at: 0.0, sent: 0 }
        }

        /// When a packet arrives that is sent at `at` seconds.
        fn pass(&mut self, at: f64) -> Option<f64> {
            self.sent += 1;
            let start = self.free_at.max(at);
            let lost = self.sent.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 & 0xffff;
            if start - at > self.queue || lost * 100 / 65_536 < self.loss {
                return None;
            }
            self.free_at = start + 1200.0 * 8.0 / self.rate;
            Some(self.free_at + 0.02)
        }
    }

    /// The estimate after `seconds` of a broadcast of `rate`, a quarter of it in a keyframe every second.
    fn after(link: &mut Link, rate: f64, seconds: u32) -> f64 {
        let shared = Arc::<Estimate>::default();
        let (mut estimator, epoch) = (Estimator::new(Arc::clone(&shared)), Instant::now());
        let per_second = rate / 9600.0;
        let mut waiting = Vec::new();
        let mut id = 0;
        for frame in 0..seconds * 25 {
            let at = f64::from(frame) / 25.0;
            let share = if frame % 25 == 0 { per_second / 4.0 } else { per_second * 0.75 / 24.0 };
            for packet in 0..share.round() as u32 {
                let at = at + f64::from(packet) * 9600.0 / (2.5 * rate);
                let arrival = link.pass(at);
                id += 1;
                waiting.push(PacketReport {
                    ssrc: 1,
                    id,
                    rtp_sequence_number: id as u16,
                    is_twcc: true,
                    twcc_sequence_number: id as u16,
                    size: 1200,
                    arrived: arrival.is_some(),
                    departure: epoch + Duration::from_secs_f64(at),
                    arrival: arrival.map(Duration::from_secs_f64),
                    ecn: rtc::rtcp::transport_feedbacks::cc_feedback_report::Ecn::NotEct,
                });
            }
            // Feedback for what has arrived by now.
            let now = at + 0.04;
            let arrived = |report: &PacketReport| {
                let at = report.arrival.map_or(0.0, |at| at.as_secs_f64());
                at < now
            };
            let (reports, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(arrived);
            waiting = rest;
            estimator.on_reports(epoch + Duration::from_secs_f64(now + 0.02), &reports);
        }
        shared.get().expect("there was feedback") as f64
    }

    #[test]
    fn a_link_that_is_wide_enough_does_not_hold_a_broadcast_up() {
        for (rate, loss) in [(600e3, 0), (2e6, 0), (8e6, 0), (30e6, 0), (600e3, 5), (2e6, 5), (12e6, 5)] {
            let estimate = after(&mut Link::new(rate * 4.0, loss), rate, 20);
            println!("{rate} with {loss} %: {estimate}");
            assert!(estimate > rate * 0.85, "{rate} with {loss} %: {estimate}");
        }
    }

    #[test]
    fn a_link_that_is_too_narrow_is_found_out() {
        for (capacity, rate) in [(500e3, 1.5e6), (1e6, 2e6), (3e6, 8e6)] {
            let estimate = after(&mut Link::new(capacity, 0), rate, 10);
            println!("{rate} over {capacity}: {estimate}");
            assert!(
                (capacity * 0.5..capacity * 1.15).contains(&estimate),
                "{rate} over {capacity}: {estimate}"
            );
        }
    }
}
