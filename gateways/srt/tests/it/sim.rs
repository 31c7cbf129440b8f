//! A rig of two engines, a seeded link and one clock: hours of a connection in seconds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_srt::engine::{Connection, Params, Stats};
use moqgate_srt::wire::Seq;

/// Microseconds of the rig's true time.
pub(crate) type Micros = i64;

pub(crate) const MS: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000_000;
pub(crate) const MINUTE: Micros = 60 * SECOND;

/// The end that pushes, and the end that delivers.
pub(crate) const SENDER: usize = 0;
pub(crate) const RECEIVER: usize = 1;

/// Control types as they stand in bytes 0 and 1 of a packet.
pub(crate) const NAK: u16 = 0x8003;
pub(crate) const ACKACK: u16 = 0x8006;

const SENDER_ID: u32 = 0x11;
const RECEIVER_ID: u32 = 0x22;

/// How a connection begins.
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) latency: Micros,
    pub(crate) first_seq: u32,
    /// How long ago both clocks stood at zero.
    pub(crate) age: Micros,
    /// How much faster the sender's clock runs, parts per million.
    pub(crate) skew: i64,
    /// Distance of two pushed packets.
    pub(crate) period: Micros,
    pub(crate) payload: usize,
    /// Delay of the handshake that sets the receiver's clock.
    pub(crate) handshake_delay: Micros,
    /// Last words on the parameters of an end.
    pub(crate) adjust: fn(usize, &mut Params),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            latency: 400 * MS,
            first_seq: 0x1234_5678,
            age: 0,
            skew: 0,
            period: 2_440,
            payload: 64,
            handshake_delay: 20 * MS,
            adjust: |_, _| (),
        }
    }
}

type Loses = Box<dyn FnMut(&[u8], Micros, f64) -> bool>;

/// One direction of the path.
pub(crate) struct Link {
    /// One-way delay, uniform; a range wider than the packet distance reorders.
    pub(crate) delay: Range<Micros>,
    /// Share of datagrams lost.
    pub(crate) loss: f64,
    /// Share of datagrams that arrive twice.
    pub(crate) duplicate: f64,
    /// Loses a datagram if it says so, given the time and the rig's random number in 0..1.
    pub(crate) loses: Loses,
    pub(crate) carried: u64,
    /// Data packets lost.
    pub(crate) lost_data: u64,
}

impl Link {
    fn new() -> Self {
        let delay = 20 * MS..20 * MS + 1;
        Self { delay, loss: 0.0, duplicate: 0.0, loses: Box::new(|_, _, _| false), carried: 0, lost_data: 0 }
    }

    /// Loses this share of the control packets of one kind.
    pub(crate) fn lose_control(&mut self, kind: u16, share: f64) {
        self.loses =
            Box::new(move |datagram, _, random| control_type(datagram) == Some(kind) && random < share);
    }
}

/// The type of a control packet.
pub(crate) fn control_type(datagram: &[u8]) -> Option<u16> {
    let first = u16::from_be_bytes([datagram[0], datagram[1]]);
    (first & 0x8000 != 0).then_some(first)
}

/// What came out at the receiving end.
#[derive(Default)]
pub(crate) struct Delivered {
    pub(crate) count: u64,
    /// Packets skipped.
    pub(crate) missing: u64,
    next: u64,
    /// From push to delivery, since the last [`World::reset_lag`].
    pub(crate) lag: Option<(Micros, Micros)>,
}

/// Two engines and what lies between them.
pub(crate) struct World {
    pub(crate) now: Micros,
    base: Instant,
    skew: i64,
    period: Micros,
    payload: Vec<u8>,
    pub(crate) ends: [Connection; 2],
    wakes: [Option<Micros>; 2],
    /// `links[i]` leads away from end `i`.
    pub(crate) links: [Link; 2],
    in_transit: BinaryHeap<Reverse<(Micros, u64, usize, Bytes)>>,
    sent: u64,
    rng: Rng,
    pub(crate) pushing: bool,
    next_push: Micros,
    pub(crate) pushed: u64,
    pub(crate) delivered: Delivered,
    pub(crate) wake_ups: u64,
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        // Far enough from the machine's start for any age.
        let base = Instant::now() + Duration::from_secs(1_000_000);
        let start = base - Duration::from_micros(setup.age as u64);
        let latency = Duration::from_micros(setup.latency as u64);
        let end = |which: usize, delay: Micros| {
            let (local, peer) =
                if which == SENDER { (SENDER_ID, RECEIVER_ID) } else { (RECEIVER_ID, SENDER_ID) };
            let mut params = Params::new(local, peer, Seq::new(setup.first_seq), start);
            params.handshake_arrival = base + Duration::from_micros(delay as u64);
            params.handshake_timestamp = (setup.age + delay - setup.handshake_delay) as u32;
            params.recv_latency = latency;
            params.peer_latency = latency;
            (setup.adjust)(which, &mut params);
            Connection::new(params, base)
        };
        let ends = [end(SENDER, 2 * setup.handshake_delay), end(RECEIVER, setup.handshake_delay)];
        Self {
            now: 0,
            base,
            skew: setup.skew,
            period: setup.period,
            payload: vec![0x47; setup.payload.max(16)],
            ends,
            wakes: [Some(0), Some(0)],
            links: [Link::new(), Link::new()],
            in_transit: BinaryHeap::new(),
            sent: 0,
            rng: Rng(setup.seed),
            pushing: true,
            next_push: 2 * setup.handshake_delay,
            pushed: 0,
            delivered: Delivered::default(),
            wake_ups: 0,
        }
    }

    /// The same path in both directions.
    pub(crate) fn path(&mut self, delay: Range<Micros>, loss: f64) {
        for link in &mut self.links {
            link.delay = delay.clone();
            link.loss = loss;
        }
    }

    pub(crate) fn run(&mut self, time: Micros) {
        let end = self.now + time;
        let (mut last_wake, mut idle_wakes) = (-1, 0);
        loop {
            let arrival = self.in_transit.peek().map(|Reverse(next)| next.0);
            let push = self.pushing.then_some(self.next_push);
            let [first, second] = self.wakes;
            let Some(next) = [arrival, push, first, second].into_iter().flatten().min() else { break };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let Some(Reverse((_, _, to, datagram))) = self.in_transit.pop() else { break };
                let local = self.local(to);
                self.ends[to].handle(datagram, local);
                self.settle(to);
            } else if push == Some(next) {
                self.push();
                self.next_push += self.period;
            } else {
                let which = usize::from(first != Some(next));
                self.wake_ups += 1;
                idle_wakes = if next == last_wake { idle_wakes + 1 } else { 0 };
                last_wake = next;
                assert!(idle_wakes < 100, "the timers of end {which} stand still at {next} us");
                let local = self.local(which);
                self.ends[which].handle_timeout(local);
                self.settle(which);
            }
        }
        self.now = end;
    }

    /// Stops pushing and lets everything arrive. The last packet comes through: nothing would follow to tell that it
    /// is missing.
    pub(crate) fn finish(&mut self) {
        for link in &mut self.links {
            link.loss = 0.0;
            link.loses = Box::new(|_, _, _| false);
        }
        self.push();
        self.pushing = false;
        self.run(3 * SECOND);
    }

    /// Resumes pushing after a silence.
    pub(crate) fn resume(&mut self) {
        self.pushing = true;
        self.next_push = self.now;
    }

    pub(crate) fn reset_lag(&mut self) {
        self.delivered.lag = None;
    }

    /// Asserts that every delivery since the last reset had the same lag, give or take ten milliseconds.
    pub(crate) fn assert_constant_lag(&self) {
        let (least, most) = self.delivered.lag.expect("something was delivered");
        assert!(most - least <= 20 * MS, "lag between {least} and {most} us");
    }

    /// Asserts that every packet pushed was delivered.
    pub(crate) fn assert_nothing_lost(&self) {
        let stats = self.receiver();
        assert_eq!(self.delivered.count, self.pushed, "{stats:#?}");
        assert_eq!((self.delivered.missing, stats.pkt_rcv_drop), (0, 0), "{stats:#?}");
    }

    pub(crate) fn sender(&self) -> Stats {
        self.ends[SENDER].stats()
    }

    pub(crate) fn receiver(&self) -> Stats {
        self.ends[RECEIVER].stats()
    }

    /// Puts a datagram of the test's own on the way to `to`.
    pub(crate) fn inject(&mut self, to: usize, datagram: Bytes) {
        let local = self.local(to);
        self.ends[to].handle(datagram, local);
        self.settle(to);
    }

    /// The clock of an end. The sender's may run fast or slow.
    pub(crate) fn local(&self, which: usize) -> Instant {
        let skew = if which == SENDER { self.now * self.skew / 1_000_000 } else { 0 };
        self.base + Duration::from_micros((self.now + skew) as u64)
    }

    fn true_time(&self, which: usize, at: Instant) -> Micros {
        let local = at.saturating_duration_since(self.base).as_micros() as Micros;
        let skew = if which == SENDER { self.skew } else { 0 };
        // Rounded up, so that the timer has expired when it is handled.
        (local * 1_000_000 + 1_000_000 + skew - 1) / (1_000_000 + skew)
    }

    fn push(&mut self) {
        self.payload[..8].copy_from_slice(&self.pushed.to_be_bytes());
        self.payload[8..16].copy_from_slice(&self.now.to_be_bytes());
        let local = self.local(SENDER);
        self.ends[SENDER].push(&self.payload, local).expect("open");
        self.pushed += 1;
        self.settle(SENDER);
    }

    /// Takes what an end has to give.
    fn settle(&mut self, which: usize) {
        while let Some(datagram) = self.ends[which].poll_transmit() {
            self.transmit(which, datagram);
        }
        let local = self.local(which);
        while let Some(payload) = self.ends[which].poll_deliver(local) {
            if which == RECEIVER {
                self.deliver(&payload);
            }
        }
        let wake = self.ends[which].poll_timeout().map(|at| self.true_time(which, at));
        self.wakes[which] = wake.map(|at| at.max(self.now));
    }

    fn transmit(&mut self, from: usize, datagram: Bytes) {
        let random = self.rng.unit();
        let link = &mut self.links[from];
        link.carried += 1;
        if self.rng.unit() < link.loss || (link.loses)(&datagram, self.now, random) {
            link.lost_data += u64::from(control_type(&datagram).is_none());
            return;
        }
        let copies = if self.rng.unit() < link.duplicate { 2 } else { 1 };
        for _ in 0..copies {
            let at = self.now + self.rng.range(&link.delay);
            self.sent += 1;
            // An own copy, as from a socket.
            let datagram = Bytes::copy_from_slice(&datagram);
            self.in_transit.push(Reverse((at, self.sent, 1 - from, datagram)));
        }
    }

    fn deliver(&mut self, payload: &[u8]) {
        let word = |at: usize| u64::from_be_bytes(payload[at..at + 8].try_into().expect("eight bytes"));
        let number = word(0);
        let delivered = &mut self.delivered;
        assert!(number >= delivered.next, "packet {number} delivered after {}", delivered.next);
        delivered.missing += number - delivered.next;
        delivered.next = number + 1;
        delivered.count += 1;
        let lag = self.now - word(8) as Micros;
        let (least, most) = delivered.lag.unwrap_or((lag, lag));
        delivered.lag = Some((least.min(lag), most.max(lag)));
    }
}

/// SplitMix64.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn range(&mut self, range: &Range<Micros>) -> Micros {
        range.start + (self.next() % (range.end - range.start).max(1) as u64) as Micros
    }
}
