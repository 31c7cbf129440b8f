//! Our engine and the one of srt-protocol 0.4.4 under the same link: the measurements in docs/DEPENDENCIES.md.
//!
//! `cargo test -p moqgate-srt --test it sim_peer -- --ignored --nocapture`

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_srt::engine::{Connection, Params};
use moqgate_srt::wire::Seq;
use srt_protocol::connection::{self, Action, ConnectionSettings, DuplexConnection, Input};
use srt_protocol::options::{PacketCount, PacketSize};
use srt_protocol::packet::{Packet, SeqNumber, SocketId};
use srt_protocol::protocol::handshake::Handshake;

use crate::sim::{MINUTE, MS, Micros, Rng, control_type};

/// An engine as the rig sees it.
trait Engine {
    type Datagram: Clone;

    fn new(sender: bool, latency: Duration, start: Instant) -> Self;
    fn push(&mut self, payload: Bytes, now: Instant);
    fn handle(&mut self, datagram: Self::Datagram, now: Instant);
    /// Does what is due, and says when more will be.
    fn step(&mut self, now: Instant, sent: &mut Vec<Self::Datagram>, delivered: &mut u64) -> Instant;
    fn is_data(datagram: &Self::Datagram) -> bool;
}

impl Engine for Connection {
    type Datagram = Bytes;

    fn new(sender: bool, latency: Duration, start: Instant) -> Self {
        let (local, peer) = if sender { (1, 2) } else { (2, 1) };
        let mut params = Params::new(local, peer, Seq::new(1), start);
        (params.recv_latency, params.peer_latency) = (latency, latency);
        Self::new(params, start)
    }

    fn push(&mut self, payload: Bytes, now: Instant) {
        self.push(&payload, now).expect("open");
    }

    fn handle(&mut self, datagram: Bytes, now: Instant) {
        self.handle(datagram, now);
    }

    fn step(&mut self, now: Instant, sent: &mut Vec<Bytes>, delivered: &mut u64) -> Instant {
        self.handle_timeout(now);
        sent.extend(std::iter::from_fn(|| self.poll_transmit()));
        *delivered += std::iter::from_fn(|| self.poll_deliver(now)).count() as u64;
        self.poll_timeout().expect("open")
    }

    fn is_data(datagram: &Bytes) -> bool {
        control_type(datagram).is_none()
    }
}

impl Engine for DuplexConnection {
    type Datagram = Packet;

    fn new(sender: bool, latency: Duration, start: Instant) -> Self {
        let (local, peer) = if sender { (1, 2) } else { (2, 1) };
        let settings = ConnectionSettings {
            remote: address(peer),
            remote_sockid: SocketId(peer),
            local_sockid: SocketId(local),
            socket_start_time: start,
            rtt: Duration::from_millis(40),
            init_seq_num: SeqNumber::new_truncate(1),
            max_packet_size: PacketSize(1456),
            max_flow_size: PacketCount(8192),
            send_tsbpd_latency: latency,
            recv_tsbpd_latency: latency,
            cipher: None,
            stream_id: None,
            bandwidth: Default::default(),
            recv_buffer_size: PacketCount(8192),
            send_buffer_size: PacketCount(8192),
            statistics_interval: Duration::from_secs(1),
            peer_idle_timeout: Duration::from_secs(5),
            too_late_packet_drop: true,
        };
        Self::new(connection::Connection { settings, handshake: Handshake::Connector })
    }

    fn push(&mut self, payload: Bytes, now: Instant) {
        self.handle_data_input(now, Some((now, payload)));
    }

    fn handle(&mut self, datagram: Packet, now: Instant) {
        let from = match datagram.dest_sockid() {
            SocketId(1) => 2,
            _ => 1,
        };
        self.handle_packet_input(now, Ok((datagram, address(from))));
    }

    fn step(&mut self, now: Instant, sent: &mut Vec<Packet>, delivered: &mut u64) -> Instant {
        loop {
            match self.handle_input(now, Input::Timer) {
                Action::SendPacket((packet, _)) => sent.push(packet),
                Action::ReleaseData(_) => *delivered += 1,
                Action::UpdateStatistics(_) => {}
                Action::WaitForData(wait) => return now + wait.max(Duration::from_micros(100)),
                Action::Close => panic!("closed"),
            }
        }
    }

    fn is_data(datagram: &Packet) -> bool {
        matches!(datagram, Packet::Data(_))
    }
}

fn address(id: u32) -> SocketAddr {
    ([127, 0, 0, 1], id as u16).into()
}

struct Scenario {
    latency: Micros,
    period: Micros,
    delay: Range<Micros>,
    loss: f64,
    time: Micros,
}

#[derive(Debug, Default)]
struct Outcome {
    pushed: u64,
    delivered: u64,
    lost: u64,
    resent: u64,
}

/// Datagrams on the way to an end, by time and by number, the next one last.
type Transit<D> = BTreeMap<Reverse<(Micros, u64)>, (usize, D)>;

fn run<E: Engine>(scenario: &Scenario) -> Outcome {
    let start = Instant::now();
    let local = |at: Micros| start + Duration::from_micros(at as u64);
    let latency = Duration::from_micros(scenario.latency as u64);
    let mut ends = [E::new(true, latency, start), E::new(false, latency, start)];
    let mut wakes = [0, 0];
    let mut transit = Transit::<E::Datagram>::new();
    let mut rng = Rng(1);
    let mut outcome = Outcome::default();
    let (mut now, mut next_push, mut number) = (0, 0, 0);
    while now < scenario.time {
        let arrival = transit.last_key_value().map_or(Micros::MAX, |(Reverse(key), _)| key.0);
        now = arrival.min(next_push).min(wakes[0]).min(wakes[1]).max(now);
        let at = local(now);
        let which = if arrival <= now {
            let Some((_, (to, datagram))) = transit.pop_last() else { break };
            ends[to].handle(datagram, at);
            to
        } else if next_push <= now {
            ends[0].push(Bytes::from_static(&[0x47; 188]), at);
            outcome.pushed += 1;
            next_push += scenario.period;
            0
        } else {
            usize::from(wakes[0] > now)
        };
        let (mut sent, mut delivered) = (Vec::new(), 0);
        let wake = ends[which].step(at, &mut sent, &mut delivered);
        wakes[which] = wake.saturating_duration_since(start).as_micros() as Micros + 1;
        outcome.delivered += delivered;
        for datagram in sent {
            let data = which == 0 && E::is_data(&datagram);
            outcome.resent += u64::from(data);
            if rng.unit() < scenario.loss {
                outcome.lost += u64::from(data);
                continue;
            }
            number += 1;
            transit.insert(Reverse((now + rng.range(&scenario.delay), number)), (1 - which, datagram));
        }
    }
    outcome.resent = outcome.resent.saturating_sub(outcome.pushed);
    outcome
}

fn compare(scenario: &Scenario) -> [Outcome; 2] {
    [run::<Connection>(scenario), run::<DuplexConnection>(scenario)]
}

#[test]
#[ignore = "a measurement of another engine, not a property of ours"]
fn a5_an_hour_of_jitter() {
    let scenario = Scenario {
        latency: 250 * MS,
        period: 20 * MS,
        delay: 10 * MS..50 * MS,
        loss: 0.0,
        time: 60 * MINUTE,
    };
    let [ours, theirs] = compare(&scenario);
    println!("10 to 50 ms of jitter, an hour\n  moqgate      {ours:?}\n  srt-protocol {theirs:?}");
    // What is in the buffer at the end is not lost.
    assert!(ours.pushed - ours.delivered < 20, "{ours:?}");
    assert!(theirs.delivered < theirs.pushed * 9 / 10, "srt-protocol is better than it was: {theirs:?}");
}

#[test]
#[ignore = "a measurement of another engine, not a property of ours"]
fn a8_retransmissions() {
    let scenario = |delay: Range<Micros>, loss| Scenario {
        latency: 400 * MS,
        period: 2_440,
        delay,
        loss,
        time: 5 * MINUTE,
    };
    for (name, scenario) in [
        ("2 % loss, 20 ms, no reordering", scenario(20 * MS..20 * MS + 1, 0.02)),
        ("20 to 24 ms, no loss", scenario(20 * MS..24 * MS, 0.0)),
        ("2 % loss, 20 to 24 ms", scenario(20 * MS..24 * MS, 0.02)),
    ] {
        let [ours, theirs] = compare(&scenario);
        println!("{name}\n  moqgate      {ours:?}\n  srt-protocol {theirs:?}");
        assert!(ours.resent <= ours.lost * 13 / 10 + 100, "{ours:?}");
        assert!(theirs.resent > ours.resent, "srt-protocol is better than it was: {theirs:?}");
    }
}
