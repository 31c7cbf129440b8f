//! The send buffer: new packets, retransmissions and the too-late drop (draft-sharabayko-srt sections 4.3, 4.6 and 5.1).
//!
//! A packet is built once, when it is pushed; a transmission hands out the same memory again. Only a retransmission
//! is copied, for its R bit.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::Micros;
use super::ack::Rtt;
use super::limits::{
    DEFAULT_WINDOW, DROP_REQUEST_INTERVAL, HEADER_BYTES, NAK_SLACK, PACING_CREDIT, TOO_LATE_MIN,
    TOO_LATE_SLACK, UNSENT_MAX, WINDOW_MAX,
};
use super::params::{Params, PeerFlags};
use super::receiver::{first_index, seq_of};
use super::resend::{ResendBudget, ResendList};
use crate::crypto::Crypto;
use crate::wire::packet::HEADER_LEN;
use crate::wire::{Ack, Data, KeyParity, LossListError, Seq, loss_list};

/// Packets are cut from blocks of this size, so that a push seldom allocates.
const BLOCK: usize = 64 * 1024;

/// The R bit in byte 4 of a data packet.
const RETRANSMITTED: u8 = 0x04;

/// What was pushed and is not acknowledged yet.
#[derive(Debug)]
pub(crate) struct Sender {
    /// Index of `entries[0]`, the oldest packet not acknowledged.
    first: u64,
    entries: VecDeque<Entry>,
    /// Everything before this index was acknowledged; what lies between it and `first` was dropped.
    acked: u64,
    /// Index of the next packet that was never sent.
    unsent: u64,
    capacity: usize,
    resends: ResendList,
    budget: ResendBudget,
    /// When a resend that the budget refused may be tried again.
    refused_until: Option<Micros>,
    pacer: Pacer,
    /// Packets that may be in flight: the peer's free buffer, and its flow window above that.
    window: u64,
    flow_window: u64,
    latency: Micros,
    flags: PeerFlags,
    /// Last time the peer acknowledged something new, or everything was put up for a blind resend.
    progress_at: Micros,
    drop_request_at: Option<Micros>,
    peer_id: u32,
    message: u32,
    block: BytesMut,
    dropped: u64,
}

#[derive(Debug)]
struct Entry {
    /// Header and payload.
    datagram: Bytes,
    origin: Micros,
    resent_at: Option<Micros>,
}

/// A data packet that goes out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) datagram: Bytes,
    pub(crate) retransmission: bool,
}

/// What a NAK asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Packets that it named and that are still here, repeats included.
    pub(crate) packets: u64,
    /// A drop request to send for those that are not.
    pub(crate) gone: Option<(Seq, Seq)>,
}

impl Sender {
    pub(crate) fn new(params: &Params, now: Micros) -> Self {
        let first = first_index(params.initial_seq);
        let flow_window = params.flow_window.clamp(2, WINDOW_MAX);
        Self {
            first,
            entries: VecDeque::new(),
            acked: first,
            unsent: first,
            capacity: flow_window.max(DEFAULT_WINDOW) as usize,
            resends: ResendList::default(),
            budget: ResendBudget::new(now),
            refused_until: None,
            pacer: Pacer { rate: params.max_bandwidth, next_at: now },
            window: u64::from(flow_window),
            flow_window: u64::from(flow_window),
            latency: params.peer_latency.as_micros() as Micros,
            flags: params.peer_flags,
            progress_at: now,
            drop_request_at: None,
            peer_id: params.peer_id,
            message: 1,
            block: BytesMut::new(),
            dropped: 0,
        }
    }

    /// Appends a payload of the stream. `false`: the buffer is full, and the peer does not want anything dropped.
    pub(crate) fn push(&mut self, payload: &[u8], crypto: Option<&Crypto>, now: Micros) -> bool {
        if self.entries.len() >= self.capacity {
            if !self.flags.drops_too_late {
                self.dropped += 1;
                return false;
            }
            self.drop_front();
        }
        let len = HEADER_LEN + payload.len();
        if self.block.capacity() < len {
            self.block = BytesMut::with_capacity(BLOCK);
        }
        self.block.extend_from_slice(&[0; HEADER_LEN]);
        self.block.extend_from_slice(payload);
        let seq = seq_of(self.end());
        let key =
            crypto.map_or(KeyParity::Clear, |crypto| crypto.encrypt(seq, &mut self.block[HEADER_LEN..]));
        let header = Data {
            seq,
            position: 3,
            in_order: true,
            key,
            retransmitted: false,
            message: self.message,
            timestamp: now as u32,
            destination: self.peer_id,
            payload: Bytes::new(),
        };
        self.block[..HEADER_LEN].copy_from_slice(&header.header());
        // 26 bits; 0 would mean "unknown".
        self.message = if self.message == 0x03FF_FFFF { 1 } else { self.message + 1 };
        if self.entries.is_empty() {
            self.progress_at = now;
        }
        let datagram = self.block.split().freeze();
        self.budget.earn(wire_bytes(&datagram));
        self.entries.push_back(Entry { datagram, origin: now, resent_at: None });
        true
    }

    /// The next packet to send: new ones first, then the oldest loss that can still arrive in time.
    pub(crate) fn poll(&mut self, rtt: &Rtt, now: Micros) -> Option<Outgoing> {
        if self.pacer.next_at > now {
            return None;
        }
        if self.may_send_new() {
            let datagram = self.entries[(self.unsent - self.first) as usize].datagram.clone();
            self.unsent += 1;
            self.pacer.spend(wire_bytes(&datagram), now);
            return Some(Outgoing { datagram, retransmission: false });
        }
        let datagram = self.next_resend(rtt, now)?;
        self.pacer.spend(wire_bytes(&datagram), now);
        Some(Outgoing { datagram, retransmission: true })
    }

    /// The peer has everything before `ack.next`. `false`: that was never sent.
    pub(crate) fn on_ack(&mut self, ack: &Ack, now: Micros) -> bool {
        let behind = ack.next.minus(seq_of(self.unsent));
        if behind > 0 {
            return false;
        }
        if let Some(detail) = ack.detail {
            // Two packets at least, or a full buffer whose next ACK gets lost would stop the stream for good.
            self.window = u64::from(detail.free).clamp(2, self.flow_window);
        }
        let index = self.unsent.saturating_sub(u64::from(behind.unsigned_abs()));
        self.acked = self.acked.max(index);
        if index > self.first {
            self.entries.drain(..(index - self.first) as usize);
            self.first = index;
            self.resends.remove_below(index);
            self.progress_at = now;
        }
        true
    }

    /// The peer misses packets.
    ///
    /// # Errors
    /// The list is malformed or names packets that were never sent.
    pub(crate) fn on_nak(&mut self, body: &[u8], now: Micros) -> Result<Asked, LossListError> {
        let newest = seq_of(self.unsent).previous();
        let list = loss_list::decode(body, seq_of(self.first), newest)?;
        let mut asked = Asked::default();
        for (first, last) in list.ranges {
            let last = self.first + u64::from(last.minus(seq_of(self.first)).unsigned_abs());
            let first = self.first + u64::from(first.minus(seq_of(self.first)).unsigned_abs());
            asked.packets += last - first + 1;
            self.resends.insert(first, last);
        }
        let paced = self.drop_request_at.is_none_or(|at| now - at >= DROP_REQUEST_INTERVAL);
        // A NAK that an ACK overtook needs no answer.
        let dropped = (self.acked < self.first).then(|| (seq_of(self.acked), seq_of(self.first).previous()));
        if let (true, Some((first, last)), Some(dropped)) = (paced, list.stale, dropped)
            && !dropped.0.is_after(last)
        {
            self.drop_request_at = Some(now);
            asked.gone = Some((if dropped.0.is_after(first) { dropped.0 } else { first }, last));
        }
        Ok(asked)
    }

    /// What time alone brings: the too-late drop, and the blind resend for peers that do not repeat their NAKs.
    pub(crate) fn advance(&mut self, rtt: &Rtt, now: Micros) {
        while self.too_late_at().is_some_and(|at| at <= now) {
            self.drop_front();
        }
        if self.blind_resend_at(rtt).is_some_and(|at| at <= now) {
            self.progress_at = now;
            self.resends.insert(self.first, self.unsent - 1);
        }
    }

    /// When there will be something to do, if nothing arrives and nothing is pushed.
    pub(crate) fn next_timeout(&self, rtt: &Rtt, now: Micros) -> Option<Micros> {
        let new = self.may_send_new().then_some(self.pacer.next_at);
        let resend = self.resends.first().map(|_| self.refused_until.unwrap_or(now).max(self.pacer.next_at));
        [new, resend, self.too_late_at(), self.blind_resend_at(rtt)].into_iter().flatten().min()
    }

    /// Whether what is pushed can go out soon, and nothing has to be dropped for it.
    pub(crate) fn has_room(&self) -> bool {
        let unsent = self.end() - self.unsent.max(self.first);
        self.entries.len() < self.capacity && unsent < UNSENT_MAX
    }

    /// Packets sent and not acknowledged.
    pub(crate) fn in_flight(&self) -> u64 {
        self.unsent - self.first
    }

    /// Packets that may be in flight now.
    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    /// Packets in the buffer.
    pub(crate) fn buffered(&self) -> usize {
        self.entries.len()
    }

    /// Time between the oldest and the newest packet in the buffer.
    pub(crate) fn span(&self) -> Micros {
        match (self.entries.front(), self.entries.back()) {
            (Some(oldest), Some(newest)) => newest.origin - oldest.origin,
            _ => 0,
        }
    }

    /// Packets given up unacknowledged.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn may_send_new(&self) -> bool {
        self.unsent < self.end() && self.in_flight() < self.window
    }

    fn next_resend(&mut self, rtt: &Rtt, now: Micros) -> Option<Bytes> {
        self.refused_until = None;
        while let Some(index) = self.resends.first() {
            // The list never reaches beyond what was sent, nor below `first`.
            let entry = self.entries.get_mut((index - self.first) as usize)?;
            let held = entry.resent_at.is_some_and(|at| now - at < hold(rtt));
            let too_late = self.flags.drops_too_late && entry.origin + self.latency <= now;
            if held || too_late {
                self.resends.remove_below(index + 1);
                continue;
            }
            if !self.budget.spend(wire_bytes(&entry.datagram), now) {
                self.refused_until = Some(now + BUDGET_RETRY);
                return None;
            }
            self.resends.remove_below(index + 1);
            entry.resent_at = Some(now);
            if !self.flags.marks_retransmissions {
                return Some(entry.datagram.clone());
            }
            let mut copy = BytesMut::from(&entry.datagram[..]);
            copy[4] |= RETRANSMITTED;
            return Some(copy.freeze());
        }
        None
    }

    fn drop_front(&mut self) {
        self.entries.pop_front();
        self.first += 1;
        self.unsent = self.unsent.max(self.first);
        self.resends.remove_below(self.first);
        self.dropped += 1;
    }

    fn too_late_at(&self) -> Option<Micros> {
        let oldest = self.entries.front().filter(|_| self.flags.drops_too_late)?;
        Some(oldest.origin + self.latency.max(TOO_LATE_MIN) + TOO_LATE_SLACK)
    }

    fn blind_resend_at(&self, rtt: &Rtt) -> Option<Micros> {
        let wanted = !self.flags.nak_report && self.in_flight() > 0;
        wanted.then(|| self.progress_at + rtt.timeout() + TOO_LATE_SLACK)
    }
}

/// What a datagram takes of the link.
pub(crate) fn wire_bytes(datagram: &Bytes) -> u64 {
    datagram.len() as u64 + HEADER_BYTES - HEADER_LEN as u64
}

/// How long a packet that was resent is not resent again: a NAK within a round trip was sent before the answer to the
/// last one could arrive. libsrt's RTT - 4 var goes negative on an uneven link, which allows a copy for every NAK.
fn hold(rtt: &Rtt) -> Micros {
    rtt.mean + rtt.var + NAK_SLACK
}

/// About the time in which the floor of the budget earns one packet.
const BUDGET_RETRY: Micros = 12_000;

/// Spreads packets over time, if there is a bandwidth limit.
#[derive(Debug)]
struct Pacer {
    /// Bytes per second.
    rate: Option<u64>,
    next_at: Micros,
}

impl Pacer {
    fn spend(&mut self, bytes: u64, now: Micros) {
        let Some(rate) = self.rate else { return };
        let gap = (bytes * 1_000_000 / rate.max(1)).min(1_000_000) as Micros;
        self.next_at = self.next_at.max(now - PACING_CREDIT) + gap;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::wire::{AckDetail, Packet};

    const LATENCY: Micros = 120_000;

    fn sender(adjust: impl FnOnce(&mut Params)) -> Sender {
        let mut params = Params::new(1, 2, Seq::new(0x7FFF_FFFE), Instant::now());
        adjust(&mut params);
        Sender::new(&params, 0)
    }

    fn rtt(mean: u32) -> Rtt {
        let mut rtt = Rtt::default();
        rtt.adopt(mean, 0);
        rtt
    }

    /// Everything that may go out at `now`: numbers, and whether marked as retransmission.
    fn out(sender: &mut Sender, now: Micros) -> Vec<(u32, bool)> {
        std::iter::from_fn(|| sender.poll(&rtt(40_000), now))
            .map(|outgoing| {
                let Ok(Packet::Data(data)) = Packet::parse(outgoing.datagram) else { panic!("data") };
                assert_eq!(data.retransmitted, outgoing.retransmission);
                (data.seq.raw(), data.retransmitted)
            })
            .collect()
    }

    fn ack(next: u32, free: u32) -> Ack {
        let detail = AckDetail { rtt: 40_000, rtt_var: 0, free, rates: None };
        Ack { number: 1, next: Seq::new(next), detail: Some(detail) }
    }

    fn nak(sender: &mut Sender, first: u32, last: u32, now: Micros) -> Asked {
        let words = [first | 0x8000_0000, last];
        let body: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        sender.on_nak(&body, now).expect("sent")
    }

    #[test]
    fn packets_carry_their_origin_and_message_numbers_skip_zero() {
        let mut sender = sender(|_| ());
        sender.message = 0x03FF_FFFF;
        for now in [5, 6] {
            assert!(sender.push(b"payload", None, now));
        }
        for (message, timestamp) in [(0x03FF_FFFF, 5), (1, 6)] {
            let outgoing = sender.poll(&Rtt::default(), 1_000).expect("unsent");
            let Ok(Packet::Data(data)) = Packet::parse(outgoing.datagram) else { panic!("data") };
            assert_eq!(
                (data.message, data.timestamp, data.position, data.destination),
                (message, timestamp, 3, 2)
            );
            assert_eq!(data.payload, Bytes::from_static(b"payload"));
        }
    }

    #[test]
    fn resends_once_per_round_trip_and_only_what_can_still_arrive() {
        let mut sender = sender(|_| ());
        for now in 0..4 {
            sender.push(b"payload", None, now * 30_000);
        }
        assert_eq!(out(&mut sender, 90_000).len(), 4);
        assert_eq!(nak(&mut sender, 0x7FFF_FFFF, 1, 100_000), Asked { packets: 3, gone: None });
        sender.push(b"payload", None, 100_000);
        let all = [(2, false), (0x7FFF_FFFF, true), (0, true), (1, true)];
        assert_eq!(out(&mut sender, 100_000), all, "new ones first");
        nak(&mut sender, 0x7FFF_FFFF, 1, 125_000);
        assert_eq!(out(&mut sender, 125_000), []);
        nak(&mut sender, 0x7FFF_FFFF, 1, 160_000);
        assert_eq!(out(&mut sender, 160_000), [(0, true), (1, true)], "30 ms + latency are over");
        assert_eq!(30_000 + LATENCY, 150_000);
    }

    #[test]
    fn the_peer_s_window_holds_new_packets_back() {
        let mut sender = sender(|params| params.flow_window = 3);
        for _ in 0..6 {
            sender.push(b"payload", None, 0);
        }
        assert_eq!(out(&mut sender, 0), [(0x7FFF_FFFE, false), (0x7FFF_FFFF, false), (0, false)]);
        assert!(sender.on_ack(&ack(0, 0), 10));
        assert_eq!(out(&mut sender, 10), [(1, false)], "two at least");
        assert!(!sender.on_ack(&ack(3, 9), 10), "not sent yet");
        assert!(sender.on_ack(&ack(0x7FFF_FFFF, 9), 10), "an old one changes nothing but the window");
        assert_eq!(out(&mut sender, 10), [(2, false)]);
        assert_eq!(sender.in_flight(), 3);
    }

    #[test]
    fn drops_what_is_too_late_and_says_so() {
        let mut sender = sender(|_| ());
        for now in 0..3 {
            sender.push(b"payload", None, now * 100_000);
        }
        out(&mut sender, 200_000);
        assert!(sender.on_ack(&ack(0x7FFF_FFFF, 9), 200_000));
        let rtt = rtt(40_000);
        let due = 100_000 + TOO_LATE_MIN + TOO_LATE_SLACK;
        assert_eq!(sender.next_timeout(&rtt, 200_000), Some(due));
        sender.advance(&rtt, due);
        assert_eq!((sender.dropped(), sender.buffered()), (1, 1));
        let lost = Seq::new(0x7FFF_FFFF);
        assert_eq!(
            nak(&mut sender, 0x7FFF_FFF0, 0x7FFF_FFFF, due).gone,
            Some((lost, lost)),
            "not the acknowledged"
        );
        assert_eq!(nak(&mut sender, 0x7FFF_FFFF, 0x7FFF_FFFF, due + 1).gone, None, "too soon");
        assert!(sender.on_ack(&ack(0, 9), due + 2));
        assert_eq!(
            nak(&mut sender, 0x7FFF_FFFF, 0x7FFF_FFFF, due + 90_000).gone,
            None,
            "overtaken by an ACK"
        );
    }

    #[test]
    fn a_bandwidth_limit_spreads_packets() {
        let mut sender = sender(|params| params.max_bandwidth = Some(1_000_000));
        for _ in 0..10 {
            sender.push(&[0; 956], None, 100_000);
        }
        // A packet of 1000 bytes per millisecond, and three milliseconds of credit.
        assert_eq!(out(&mut sender, 100_000).len(), 4);
        assert_eq!(sender.next_timeout(&rtt(1), 100_000), Some(101_000));
        assert_eq!(out(&mut sender, 100_999).len(), 0);
        assert_eq!(out(&mut sender, 101_000).len(), 1);
        assert_eq!(out(&mut sender, 103_000).len(), 2);
    }

    #[test]
    fn a_peer_that_does_not_drop_fills_the_buffer() {
        let mut sender = sender(|params| params.peer_flags.drops_too_late = false);
        let mut taken = 0;
        while sender.push(b"payload", None, taken) {
            taken += 1;
        }
        assert_eq!(taken, Micros::from(DEFAULT_WINDOW));
        assert_eq!(sender.dropped(), 1);
        sender.advance(&Rtt::default(), 60_000_000);
        assert_eq!(sender.buffered(), DEFAULT_WINDOW as usize);
    }
}
