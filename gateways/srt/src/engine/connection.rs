//! The engine's outside: calls, timers and the end of a connection.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Micros;
use super::ack::{Acker, Due, Rtt};
use super::clock::PeerClock;
use super::limits::{
    ACK_SLACK, CONTROL_QUEUE, IDLE_TIMEOUT, KEEPALIVE_INTERVAL, NAK_INTERVAL_MIN, NAK_SLACK, TICK,
    WINDOW_MAX, WINDOW_MIN,
};
use super::params::Params;
use super::rate::{Arrivals, Meter};
use super::receiver::{Receiver, first_index, seq_of};
use super::reorder::Reorder;
use super::sender::{Sender, wire_bytes};
use super::stats::Stats;
use crate::crypto::Crypto;
use crate::wire::packet::AckRates;
use crate::wire::{Ack, AckDetail, Control, ControlBody};

/// One established connection. See the [module](super) for the contract.
#[derive(Debug)]
pub struct Connection {
    pub(super) epoch: Instant,
    /// The latest time seen; it never goes back.
    pub(super) now: Micros,
    pub(super) local_id: u32,
    peer_id: u32,
    max_payload: usize,
    recv_latency: Micros,
    peer_latency: Micros,
    pub(super) state: State,
    pub(super) clock: PeerClock,
    pub(super) receiver: Receiver,
    pub(super) reorder: Reorder,
    pub(super) acker: Acker,
    pub(super) arrivals: Arrivals,
    pub(super) sender: Sender,
    pub(super) rtt: Rtt,
    pub(super) crypto: Option<Crypto>,
    /// Control packets to send, oldest first.
    control: VecDeque<Bytes>,
    /// The last ACK that was answered: number and time.
    pub(super) ackack: Option<(u32, Micros)>,
    pub(super) last_heard: Micros,
    last_sent: Micros,
    /// ACKs and NAKs that an honest peer cannot send.
    pub(super) violations: u32,
    pub(super) received: Meter,
    sent: Meter,
    pub(super) stats: Stats,
}

/// Where a connection is in its life.
///
/// ```text
///            shutdown, idle                  buffer empty
///   Open ──────────────────────▶ Draining ────────────────▶ Closed
///     └──── close(), violations ──────────────────────────────▲
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Both directions work.
    Open,
    /// The peer is gone; what arrived is still delivered when it is due.
    Draining(CloseReason),
    /// Nothing more will come out of [`Connection::poll_deliver`].
    Closed(CloseReason),
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The peer sent a shutdown.
    PeerShutdown,
    /// Nothing was heard from the peer for five seconds.
    Idle,
    /// [`Connection::close`] was called.
    Local,
    /// The peer broke the protocol over and over.
    Protocol,
}

/// Why a payload was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The connection is not open.
    #[error("connection is closed")]
    Closed,
    /// The payload is empty or larger than [`Params::max_payload`].
    #[error("payload of {0} bytes does not fit a packet")]
    Size(usize),
    /// The send buffer is full of packets that the peer does not allow to drop.
    #[error("send buffer is full")]
    Full,
}

impl Connection {
    /// An open connection. `now` is the time of the call, at or after [`Params::start`].
    pub fn new(params: Params, now: Instant) -> Self {
        let epoch = params.start;
        let at = micros(epoch, now);
        let recv_latency = params.recv_latency.as_micros() as Micros;
        let recv_window = params.recv_window.clamp(WINDOW_MIN, WINDOW_MAX);
        let arrival = micros(epoch, params.handshake_arrival);
        Self {
            epoch,
            now: at,
            local_id: params.local_id,
            peer_id: params.peer_id,
            max_payload: params.max_payload,
            recv_latency,
            peer_latency: params.peer_latency.as_micros() as Micros,
            state: State::Open,
            clock: PeerClock::new(arrival, params.handshake_timestamp, recv_latency),
            receiver: Receiver::new(params.initial_seq, recv_latency, recv_window),
            reorder: Reorder::new(params.peer_flags.marks_retransmissions, recv_latency),
            acker: Acker::new(first_index(params.initial_seq), at),
            arrivals: Arrivals::new(),
            sender: Sender::new(&params, at),
            rtt: Rtt::default(),
            crypto: params.crypto,
            control: VecDeque::new(),
            ackack: None,
            last_heard: at,
            last_sent: at,
            violations: 0,
            received: Meter::new(at),
            sent: Meter::new(at),
            stats: Stats::default(),
        }
    }

    /// Takes a datagram from the peer.
    ///
    /// Encrypted payloads are decrypted in place if `datagram` is the only holder of its memory.
    pub fn handle(&mut self, datagram: Bytes, now: Instant) {
        self.advance(now);
        self.dispatch(datagram);
        self.service();
    }

    /// Sends one payload: at most [`Params::max_payload`] bytes, seven TS packets by custom.
    ///
    /// # Errors
    /// [`PushError`]; the payload was not taken.
    pub fn push(&mut self, payload: &[u8], now: Instant) -> Result<(), PushError> {
        self.advance(now);
        if self.state != State::Open {
            return Err(PushError::Closed);
        }
        if payload.is_empty() || payload.len() > self.max_payload {
            return Err(PushError::Size(payload.len()));
        }
        self.sender.advance(&self.rtt, self.now);
        if self.sender.push(payload, self.crypto.as_ref(), self.now) { Ok(()) } else { Err(PushError::Full) }
    }

    /// Whether a payload is better pushed now than kept: neither the peer's window nor our buffer is full. A payload
    /// gets its time stamp when it is pushed, so that what waits here only grows old.
    pub fn has_room(&self) -> bool {
        self.state == State::Open && self.sender.has_room()
    }

    /// The next datagram for the peer.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        if let Some(control) = self.control.pop_front() {
            self.last_sent = self.now;
            return Some(control);
        }
        if self.state != State::Open {
            return None;
        }
        let outgoing = self.sender.poll(&self.rtt, self.now)?;
        let bytes = wire_bytes(&outgoing.datagram);
        self.stats.pkt_sent += 1;
        self.stats.byte_sent += bytes;
        if outgoing.retransmission {
            self.stats.pkt_retrans += 1;
            self.stats.byte_retrans += bytes;
        } else {
            self.stats.pkt_sent_unique += 1;
        }
        self.sent.add(bytes, self.now);
        self.last_sent = self.now;
        Some(outgoing.datagram)
    }

    /// The next payload that is due at `now`.
    pub fn poll_deliver(&mut self, now: Instant) -> Option<Bytes> {
        self.advance(now);
        if let State::Closed(_) = self.state {
            return None;
        }
        let payload = self.receiver.poll(self.now, self.clock.drift());
        if payload.is_none() {
            self.settle();
        }
        payload
    }

    /// When [`Connection::handle_timeout`] and [`Connection::poll_deliver`] have something to do next, if nothing
    /// arrives before. `None` once closed.
    pub fn poll_timeout(&self) -> Option<Instant> {
        // On the grid, so that many packets share a wake-up.
        let on_grid = |at: Micros| at.max(self.now).saturating_add(TICK - 1).div_euclid(TICK) * TICK;
        let delivery = self.receiver.next_due(self.clock.drift()).map(on_grid);
        let at = match self.state {
            State::Closed(_) => return None,
            State::Draining(_) => delivery?,
            State::Open => [
                delivery,
                self.acker
                    .next_timeout(self.receiver.ack_point(), &self.rtt)
                    .map(|at| on_grid(at + ACK_SLACK)),
                self.receiver.nak_due(),
                self.sender.next_timeout(&self.rtt, self.now),
                Some(self.last_sent + KEEPALIVE_INTERVAL),
                Some(self.last_heard + IDLE_TIMEOUT),
            ]
            .into_iter()
            .flatten()
            .min()?,
        };
        Some(self.epoch + Duration::from_micros(at.max(0) as u64))
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.service();
    }

    /// Ends the connection at once: one shutdown goes out, what was not delivered yet is discarded.
    pub fn close(&mut self, now: Instant) {
        self.advance(now);
        self.end(CloseReason::Local);
    }

    /// Where the connection is in its life.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why the connection is over, once it is and everything was delivered.
    pub fn closed(&self) -> Option<CloseReason> {
        match self.state {
            State::Closed(reason) => Some(reason),
            State::Open | State::Draining(_) => None,
        }
    }

    /// Counters and gauges as of the last call.
    pub fn stats(&self) -> Stats {
        const MS: Micros = 1_000;
        Stats {
            pkt_rcv_drop: self.receiver.dropped(),
            pkt_rcv_buf: self.receiver.buffered() as u64,
            ms_rcv_buf: (self.receiver.span() / MS) as u64,
            pkt_rcv_avail: self.receiver.free(),
            ms_rcv_tsbpd_delay: (self.recv_latency / MS) as u64,
            mbps_recv_rate: self.received.rate(self.now) * 8e-6,
            ms_reorder_hold: self.reorder.hold(&self.rtt) as f64 / 1e3,
            us_drift: self.clock.drift(),
            pkt_snd_drop: self.sender.dropped(),
            pkt_flight_size: self.sender.in_flight(),
            pkt_flow_window: self.sender.window(),
            pkt_snd_buf: self.sender.buffered() as u64,
            ms_snd_buf: (self.sender.span() / MS) as u64,
            ms_snd_tsbpd_delay: (self.peer_latency / MS) as u64,
            mbps_send_rate: self.sent.rate(self.now) * 8e-6,
            ms_rtt: self.rtt.mean as f64 / 1e3,
            ms_rtt_var: self.rtt.var as f64 / 1e3,
            mbps_bandwidth: f64::from(self.arrivals.capacity()) * 1500.0 * 8e-6,
            ms_time_stamp: (self.now / MS).max(0) as u64,
            ..self.stats.clone()
        }
    }

    /// Queues a control packet.
    pub(super) fn send(&mut self, body: ControlBody) {
        if self.control.len() >= CONTROL_QUEUE {
            self.stats.ignored.answer += 1;
            return;
        }
        let control = Control { timestamp: self.now as u32, destination: self.peer_id, body };
        self.control.push_back(control.to_bytes());
        self.last_sent = self.now;
    }

    /// The connection ends for `reason`.
    pub(super) fn end(&mut self, reason: CloseReason) {
        if self.state != State::Open {
            return;
        }
        if reason != CloseReason::PeerShutdown {
            self.control.clear();
            self.send(ControlBody::Shutdown);
        }
        self.state = match reason {
            CloseReason::PeerShutdown | CloseReason::Idle => State::Draining(reason),
            CloseReason::Local | CloseReason::Protocol => {
                self.receiver.discard();
                State::Closed(reason)
            }
        };
        self.settle();
    }

    fn settle(&mut self) {
        if let State::Draining(reason) = self.state
            && self.receiver.buffered() == 0
        {
            self.state = State::Closed(reason);
        }
    }

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(micros(self.epoch, now));
        self.clock.advance(self.now);
    }

    /// What is due by now, most urgent first.
    fn service(&mut self) {
        if self.state != State::Open {
            return;
        }
        if self.now - self.last_heard >= IDLE_TIMEOUT {
            self.end(CloseReason::Idle);
            return;
        }
        if let Some(body) = self.receiver.nak(self.now, nak_period(&self.rtt)) {
            self.stats.pkt_sent_nak += 1;
            self.send(ControlBody::Nak(body));
        }
        self.acknowledge();
        self.sender.advance(&self.rtt, self.now);
        if self.now - self.last_sent >= KEEPALIVE_INTERVAL {
            self.send(ControlBody::KeepAlive);
        }
    }

    fn acknowledge(&mut self) {
        let point = self.receiver.ack_point();
        let Some(due) = self.acker.poll(point, &self.rtt, self.now) else { return };
        let next = seq_of(point);
        let ack = match due {
            Due::Light => {
                self.stats.pkt_sent_light_ack += 1;
                Ack { number: 0, next, detail: None }
            }
            Due::Full(number) => {
                self.stats.pkt_sent_ack += 1;
                let (packets, bytes) = self.arrivals.rate();
                let rates = AckRates { packets, capacity: self.arrivals.capacity(), bytes };
                let detail = AckDetail {
                    rtt: self.rtt.mean as u32,
                    rtt_var: self.rtt.var as u32,
                    // A full buffer must not stop the peer for good.
                    free: self.receiver.free().max(2) as u32,
                    rates: Some(rates),
                };
                Ack { number, next, detail: Some(detail) }
            }
        };
        self.send(ControlBody::Ack(ack));
    }
}

/// Time until a packet is asked for again: twice per round trip, since NAKs get lost too, or once on short paths. The
/// second of a round trip comes a little after the answer to the first should have: senders suppress what they resent
/// within a round trip, and a NAK right at its end would bring the whole burst again.
fn nak_period(rtt: &Rtt) -> Micros {
    let half = rtt.timeout() / 2 + rtt.mean / 16 + NAK_SLACK;
    if half >= NAK_INTERVAL_MIN { half } else { NAK_INTERVAL_MIN.max(2 * half) }
}

/// Time since `epoch`, or minus the time until it.
fn micros(epoch: Instant, at: Instant) -> Micros {
    match at.checked_duration_since(epoch) {
        Some(after) => after.as_micros() as Micros,
        None => -(epoch.saturating_duration_since(at).as_micros() as Micros),
    }
}
