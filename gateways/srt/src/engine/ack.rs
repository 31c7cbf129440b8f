//! Acknowledging: full and light ACKs, and the round trip that ACKACKs measure (draft-sharabayko-srt sections 4.8.1
//! and 4.10).

use std::collections::VecDeque;

use super::Micros;
use super::limits::{
    ACK_INTERVAL, ACKS_REMEMBERED, INITIAL_RTT, INITIAL_RTT_VAR, LIGHT_ACK_PACKETS, RTT_MAX,
};

/// A smoothed round-trip time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rtt {
    /// Mean.
    pub(crate) mean: Micros,
    /// Variation.
    pub(crate) var: Micros,
    measured: bool,
}

impl Default for Rtt {
    fn default() -> Self {
        Self { mean: INITIAL_RTT, var: INITIAL_RTT_VAR, measured: false }
    }
}

impl Rtt {
    /// One round trip of our own.
    pub(crate) fn sample(&mut self, sample: Micros) {
        let sample = sample.clamp(1, RTT_MAX);
        if self.measured {
            self.var = (3 * self.var + (sample - self.mean).abs()) / 4;
            self.mean = (7 * self.mean + sample) / 8;
        } else {
            *self = Self { mean: sample, var: sample / 2, measured: true };
        }
    }

    /// The peer's estimate, from a full ACK. Used as it is while we measure nothing ourselves; the pair that stands
    /// for "unknown" is skipped.
    pub(crate) fn adopt(&mut self, mean: u32, var: u32) {
        let (mean, var) = (Micros::from(mean), Micros::from(var));
        if !self.measured && (mean, var) != (INITIAL_RTT, INITIAL_RTT_VAR) {
            self.mean = mean.clamp(1, RTT_MAX);
            self.var = var.min(RTT_MAX);
        }
    }

    /// How long an answer may take before it counts as lost.
    pub(crate) fn timeout(&self) -> Micros {
        self.mean + 4 * self.var
    }
}

/// When to acknowledge, and what is still unconfirmed.
#[derive(Debug)]
pub(crate) struct Acker {
    next_number: u32,
    /// The latest numbered ACKs, from the oldest without an ACKACK; their numbers are consecutive modulo the wrap.
    awaited: VecDeque<Sent>,
    /// The point of the newest full ACK, and when it was sent.
    point: u64,
    sent_at: Micros,
    /// The highest point that an ACKACK confirmed.
    confirmed: u64,
    /// Data packets since the last ACK of either kind.
    unreported: u32,
}

#[derive(Debug)]
struct Sent {
    number: u32,
    point: u64,
    at: Micros,
    answered: bool,
}

/// An ACK that should go out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Full, with this number.
    Full(u32),
    /// One word, no answer asked for.
    Light,
}

impl Acker {
    /// Nothing was received yet; the first packet will have index `start`.
    pub(crate) fn new(start: u64, now: Micros) -> Self {
        Self {
            next_number: 1,
            awaited: VecDeque::new(),
            point: start,
            sent_at: now - ACK_INTERVAL,
            confirmed: start,
            unreported: 0,
        }
    }

    /// A data packet arrived.
    pub(crate) fn on_data(&mut self) {
        self.unreported += 1;
    }

    /// The ACK to send now, if any, when everything before `point` has arrived or was given up.
    pub(crate) fn poll(&mut self, point: u64, rtt: &Rtt, now: Micros) -> Option<Due> {
        if self.next_timeout(point, rtt).is_some_and(|at| at <= now) {
            self.unreported = 0;
            self.point = point;
            self.sent_at = now;
            return Some(Due::Full(self.number(point, now)));
        }
        if self.unreported >= LIGHT_ACK_PACKETS {
            self.unreported = 0;
            return Some(Due::Light);
        }
        None
    }

    /// When [`Acker::poll`] will have a full ACK to send, if nothing else happens.
    pub(crate) fn next_timeout(&self, point: u64, rtt: &Rtt) -> Option<Micros> {
        if point != self.point {
            Some(self.sent_at + ACK_INTERVAL)
        } else if point != self.confirmed {
            Some(self.sent_at + rtt.timeout().max(ACK_INTERVAL))
        } else {
            None
        }
    }

    /// The round trip that an ACKACK completes, or `None` if its number is not awaited. One that was overtaken counts
    /// all the same: leaving out the slow ones would make the path look faster than it is.
    pub(crate) fn on_ackack(&mut self, number: u32, now: Micros) -> Option<Micros> {
        let oldest = self.awaited.front()?.number;
        // Zero is skipped when numbers wrap, so a count that crosses the wrap is one too high.
        let mut at = number.wrapping_sub(oldest) & NUMBER_MAX;
        if number < oldest {
            at = at.wrapping_sub(1);
        }
        let sent =
            self.awaited.get_mut(at as usize).filter(|sent| sent.number == number && !sent.answered)?;
        sent.answered = true;
        let round_trip = now - sent.at;
        self.confirmed = self.confirmed.max(sent.point);
        while self.awaited.front().is_some_and(|sent| sent.answered) {
            self.awaited.pop_front();
        }
        Some(round_trip)
    }

    fn number(&mut self, point: u64, at: Micros) -> u32 {
        let number = self.next_number;
        self.next_number = if number == NUMBER_MAX { 1 } else { number + 1 };
        if self.awaited.len() == ACKS_REMEMBERED {
            self.awaited.pop_front();
        }
        self.awaited.push_back(Sent { number, point, at, answered: false });
        number
    }
}

/// ACK numbers have 31 bits; 0 stands for a light ACK.
const NUMBER_MAX: u32 = 0x7FFF_FFFF;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_sample_replaces_the_guess_and_later_ones_are_smoothed() {
        let mut rtt = Rtt::default();
        assert_eq!((rtt.mean, rtt.var), (100_000, 50_000));
        rtt.sample(40_000);
        assert_eq!((rtt.mean, rtt.var), (40_000, 20_000));
        rtt.sample(48_000);
        assert_eq!((rtt.mean, rtt.var), (41_000, 17_000));
    }

    #[test]
    fn the_peer_s_unknown_pair_is_no_measurement() {
        let mut rtt = Rtt::default();
        rtt.adopt(350, 150);
        rtt.adopt(100_000, 50_000);
        assert_eq!((rtt.mean, rtt.var), (350, 150));
    }

    #[test]
    fn an_ack_is_repeated_until_it_is_confirmed() {
        let mut acker = Acker::new(100, 0);
        let rtt = Rtt::default();
        assert_eq!(acker.poll(100, &rtt, 0), None);
        assert_eq!(acker.poll(103, &rtt, 0), Some(Due::Full(1)));
        assert_eq!(acker.poll(104, &rtt, 9_999), None);
        assert_eq!(acker.poll(104, &rtt, 10_000), Some(Due::Full(2)));
        assert_eq!(acker.next_timeout(104, &rtt), Some(310_000));
        assert_eq!(acker.poll(104, &rtt, 310_000), Some(Due::Full(3)));
        assert_eq!(acker.on_ackack(3, 330_000), Some(20_000));
        assert_eq!(acker.next_timeout(104, &rtt), None);
        assert_eq!(acker.on_ackack(3, 330_000), None, "answered already");
        assert_eq!(acker.on_ackack(2, 330_000), Some(320_000), "overtaken");
        assert_eq!(acker.on_ackack(4, 330_000), None, "never sent");
    }

    #[test]
    fn numbers_wrap_past_zero() {
        let mut acker = Acker::new(0, 0);
        acker.next_number = NUMBER_MAX - 1;
        let rtt = Rtt::default();
        for point in 1..=4u64 {
            let number = [NUMBER_MAX - 1, NUMBER_MAX, 1, 2][point as usize - 1];
            assert_eq!(acker.poll(point, &rtt, point as Micros * 10_000), Some(Due::Full(number)));
        }
        assert_eq!(acker.on_ackack(0, 50_000), None);
        assert_eq!(acker.on_ackack(1, 50_000), Some(20_000));
        assert_eq!(acker.on_ackack(2, 50_000), Some(10_000));
    }

    #[test]
    fn light_acks_serve_a_fast_sender() {
        let mut acker = Acker::new(0, 0);
        let rtt = Rtt::default();
        assert_eq!(acker.poll(1, &rtt, 0), Some(Due::Full(1)));
        for _ in 0..LIGHT_ACK_PACKETS {
            acker.on_data();
        }
        assert_eq!(acker.poll(65, &rtt, 1_000), Some(Due::Light));
        assert_eq!(acker.poll(65, &rtt, 1_000), None);
    }

    #[test]
    fn unanswered_acks_are_bounded() {
        let mut acker = Acker::new(0, 0);
        let rtt = Rtt::default();
        for point in 1..5_000u64 {
            assert!(acker.poll(point, &rtt, point as Micros * 10_000).is_some());
        }
        assert_eq!(acker.awaited.len(), ACKS_REMEMBERED);
        assert_eq!(acker.on_ackack(4_999, 49_990_000), Some(0));
        assert_eq!(acker.on_ackack(3_000, 49_990_000), None, "forgotten");
    }
}
