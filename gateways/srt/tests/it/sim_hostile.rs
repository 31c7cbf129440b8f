//! Peers that lie: nothing panics, nothing grows, and the stream goes on.

use std::time::{Duration, Instant};

use aes_kw::{KeyInit, KwAes128};
use bytes::Bytes;
use moqgate_core::Secret;
use moqgate_srt::crypto::{Crypto, KeyMaterial};
use moqgate_srt::engine::{CloseReason, Connection, Params, State, Stats};
use moqgate_srt::wire::{Ack, AckDetail, Control, ControlBody, Data, KeyParity, Packet, Seq};
use proptest::prelude::*;

use crate::sim::{MINUTE, MS, RECEIVER, SECOND, SENDER, Setup, World};

/// Socket ids of the rig's ends.
const IDS: [u32; 2] = [0x11, 0x22];
const FIRST: u32 = 0x1234_5678;

fn control(to: usize, body: ControlBody) -> Bytes {
    Packet::Control(Control { timestamp: 0, destination: IDS[to], body }).to_bytes()
}

fn ack(next: u32, number: u32) -> ControlBody {
    let detail = AckDetail { rtt: u32::MAX, rtt_var: u32::MAX, free: u32::MAX, rates: None };
    ControlBody::Ack(Ack { number, next: Seq::new(next), detail: Some(detail) })
}

fn words(words: &[u32]) -> Bytes {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn data(seq: u32, timestamp: u32) -> Data {
    Data {
        seq: Seq::new(seq),
        position: 3,
        in_order: true,
        key: KeyParity::Clear,
        retransmitted: false,
        message: 1,
        timestamp,
        destination: IDS[RECEIVER],
        payload: Bytes::from_static(&[0x47; 16]),
    }
}

/// A stream that has run for a second.
fn running() -> World {
    let mut world = World::new(Setup::default());
    world.run(SECOND);
    world
}

/// The stream goes on as if nothing had happened.
fn assert_unharmed(mut world: World) {
    assert_eq!(world.ends.each_ref().map(|end| end.state()), [State::Open; 2]);
    world.reset_lag();
    world.run(SECOND);
    world.assert_constant_lag();
    world.finish();
    world.assert_nothing_lost();
}

#[test]
fn senseless_acks_and_naks_are_ignored_and_counted() {
    let mut world = running();
    for next in [FIRST + 5_000, FIRST + 0x3000_0000] {
        world.inject(SENDER, control(SENDER, ack(next, 7)));
    }
    let open = words(&[(FIRST + 1) | 0x8000_0000]);
    let reversed = words(&[(FIRST + 9) | 0x8000_0000, FIRST + 1]);
    let unsent = words(&[(FIRST + 1) | 0x8000_0000, FIRST + 90_000]);
    for body in [open, reversed, unsent] {
        world.inject(SENDER, control(SENDER, ControlBody::Nak(body)));
    }
    let stats = world.sender();
    assert_eq!((stats.ignored.ack, stats.ignored.nak, stats.pkt_snd_loss), (2, 3, 0));
    assert_unharmed(world);
}

#[test]
fn a_peer_that_never_stops_lying_is_cut_off() {
    let mut world = running();
    for _ in 0..1_000 {
        world.inject(SENDER, control(SENDER, ack(FIRST + 50_000, 7)));
    }
    assert_eq!(world.ends[SENDER].closed(), Some(CloseReason::Protocol));
}

#[test]
fn a_nak_flood_is_merged_held_and_budgeted() {
    let mut world = running();
    // Nothing arrives any more, so everything stays in the buffer.
    world.path(20 * MS..20 * MS + 1, 1.0);
    let before = world.sender();
    for _ in 0..4_000 {
        let newest = FIRST + world.sender().pkt_sent_unique as u32 - 1;
        world.inject(SENDER, control(SENDER, ControlBody::Nak(words(&[FIRST | 0x8000_0000, newest]))));
        world.run(MS);
    }
    let stats = world.sender();
    let (resent, new) = (
        stats.byte_retrans - before.byte_retrans,
        (stats.byte_sent - stats.byte_retrans) - (before.byte_sent - before.byte_retrans),
    );
    assert!(resent < new / 2 + 4 * 125_000 + 1_000_000, "{resent} bytes resent for {new} new");
}

#[test]
fn a_nak_of_dropped_packets_gets_one_drop_request_per_ten_milliseconds() {
    let mut world = running();
    world.path(20 * MS..20 * MS + 1, 1.0);
    world.run(3 * SECOND);
    assert!(world.sender().pkt_snd_drop > 500);
    let carried = world.links[SENDER].carried;
    world.pushing = false;
    let first = FIRST + world.receiver().pkt_recv as u32 + 1;
    for _ in 0..1_000 {
        world.inject(SENDER, control(SENDER, ControlBody::Nak(words(&[first]))));
    }
    assert_eq!(world.links[SENDER].carried - carried, 1);
}

#[test]
fn drop_requests_for_what_is_there_or_to_come_do_nothing() {
    let mut world = running();
    for (first, last) in [(FIRST, FIRST + 0x1000_0000), (FIRST + 10_000, FIRST + 20_000), (5, 4)] {
        let body = ControlBody::DropRequest { message: 0, first: Seq::new(first), last: Seq::new(last) };
        world.inject(RECEIVER, control(RECEIVER, body));
    }
    assert_eq!(world.receiver().ignored.drop_request, 3);
    assert_unharmed(world);
}

#[test]
fn far_packets_do_nothing_until_the_sender_is_seen_to_have_moved() {
    let mut world = running();
    for step in 0..10_000u32 {
        world.inject(RECEIVER, data(FIRST + 100_000 + step * 2, 0).to_bytes());
    }
    assert_eq!(world.receiver().ignored.far_sequence, 10_000);
    assert_eq!(world.receiver().ignored.timestamp, 0, "a far packet does not touch the clock");
    assert_unharmed(world);

    let mut world = running();
    world.pushing = false;
    world.run(SECOND);
    for step in 0..100u32 {
        let now = world.now as u32;
        world.inject(RECEIVER, data(FIRST + 100_000 + step, now).to_bytes());
    }
    assert_eq!(world.receiver().ignored.far_sequence, 63);
    assert_eq!(world.receiver().pkt_rcv_buf, 37);
}

#[test]
fn one_lying_timestamp_neither_stalls_nor_hurries_the_stream() {
    let mut world = running();
    world.pushing = false;
    world.run(10 * MS);
    let next = FIRST + world.pushed as u32;
    world.run(10 * MS);
    for (step, timestamp) in [(0, 500_000_000), (1, 4_000_000_000), (2, world.now as u32)] {
        world.inject(RECEIVER, data(next + step, timestamp).to_bytes());
    }
    assert_eq!(world.receiver().ignored.timestamp, 2);
    let (buffered, before) = (world.receiver().pkt_rcv_buf, world.ends[RECEIVER].state());
    assert!(buffered > 100);
    // Everything is out after the latency, and the way there.
    let at = world.local(RECEIVER) + Duration::from_millis(430);
    let mut out = 0;
    while world.ends[RECEIVER].poll_deliver(at).is_some() {
        out += 1;
    }
    assert_eq!((out, before), (buffered, State::Open));
}

#[test]
fn a_clock_that_jumped_is_followed() {
    let start = Instant::now();
    let mut receiver =
        Connection::new(Params::new(IDS[RECEIVER], IDS[SENDER], Seq::new(FIRST), start), start);
    let mut delivered = 0u64;
    for step in 0..1_000u32 {
        let micros = u64::from(step) * 2_440;
        let now = start + Duration::from_micros(micros);
        let jump = if step < 500 { 0 } else { 3_000_000_000 };
        receiver.handle(data(FIRST + step, (micros + jump) as u32).to_bytes(), now);
        while receiver.poll_deliver(now).is_some() {
            delivered += 1;
        }
        // 120 ms of packets wait, before the jump and after it.
        assert!(step < 60 || (49..=50).contains(&(u64::from(step) - delivered + 1)), "{step} {delivered}");
    }
    assert_eq!(receiver.stats().ignored.timestamp, 64);
}

#[test]
fn packets_for_another_socket_do_not_keep_a_connection_alive() {
    let mut world = running();
    world.pushing = false;
    world.path(20 * MS..20 * MS + 1, 1.0);
    let mut stray = data(FIRST, 0);
    stray.destination = 0x99;
    for _ in 0..7 {
        world.inject(RECEIVER, stray.to_bytes());
        world.run(SECOND);
    }
    assert_eq!(world.ends[RECEIVER].closed(), Some(CloseReason::Idle));
    assert_eq!(world.receiver().ignored.destination, 6);
    assert_eq!(world.receiver().ignored.closed, 1);
}

/// A KM message of AES-128 with one key, even if `parity` is 1, odd if it is 2.
fn key_message(parity: u8, key: [u8; 16], salt: [u8; 16]) -> Bytes {
    let mut raw = vec![0x12, 0x20, 0x29, parity, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0, 4, 4];
    raw.extend_from_slice(&salt);
    let mut kek = [0; 16];
    pbkdf2::pbkdf2_hmac::<sha1::Sha1>(b"0123456789abc", &salt[8..], 2048, &mut kek);
    let mut wrapped = [0; 24];
    KwAes128::new_from_slice(&kek).expect("length").wrap_key(&key, &mut wrapped).expect("length");
    raw.extend_from_slice(&wrapped);
    raw.into()
}

fn crypto(message: &Bytes) -> Crypto {
    let material = KeyMaterial::parse(message.clone()).expect("well formed");
    Crypto::open(Secret::new("0123456789abc"), &material).expect("same passphrase")
}

fn even_key() -> Bytes {
    key_message(1, [7; 16], [9; 16])
}

fn encrypted(setup: Setup) -> World {
    let adjust = |_, params: &mut Params| params.crypto = Some(crypto(&even_key()));
    World::new(Setup { adjust, ..setup })
}

#[test]
fn encrypted_streams_recover_too() {
    let mut world = encrypted(Setup { first_seq: 0x7FFF_F000, ..Setup::default() });
    world.path(20 * MS..24 * MS, 0.02);
    world.run(MINUTE);
    world.finish();
    world.assert_nothing_lost();
    assert!(world.links[SENDER].lost_data > 400);
    assert_eq!(world.receiver().pkt_rcv_undecrypt, 0);
}

/// The key changes from even to odd in mid-stream; packets of both are on the way at once.
#[test]
fn keys_are_refreshed_in_mid_stream() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut params = Params::new(IDS[RECEIVER], IDS[SENDER], Seq::new(FIRST), start);
    params.crypto = Some(crypto(&even_key()));
    let mut receiver = Connection::new(params, start);
    let odd_key = key_message(2, [8; 16], [10; 16]);
    // The announcement comes twice: the first answer was lost.
    for _ in 0..2 {
        receiver.handle(control(RECEIVER, ControlBody::KeyRequest(odd_key.clone())), at(1));
        let Ok(Packet::Control(reply)) = Packet::parse(receiver.poll_transmit().expect("a reply")) else {
            panic!("control")
        };
        assert_eq!(reply.body, ControlBody::KeyReply(odd_key.clone()));
    }
    let (even, odd) = (crypto(&even_key()), crypto(&odd_key));
    let sealed = |step: u32| {
        let mut packet = data(FIRST + step, 2_000);
        let mut payload = vec![0x47; 64];
        payload[0] = step as u8;
        packet.key = if step < 50 { &even } else { &odd }.encrypt(packet.seq, &mut payload);
        packet.payload = payload.into();
        packet.to_bytes()
    };
    // Every second packet is late, so that both keys are in use at once.
    for step in (0..100).step_by(2).chain((1..100).step_by(2)) {
        receiver.handle(sealed(step), at(2));
    }
    for step in 0..100 {
        let payload = receiver.poll_deliver(at(200)).expect("every packet");
        assert_eq!(payload[0], step);
        assert!(payload[1..].iter().all(|&byte| byte == 0x47));
    }
    assert_eq!(receiver.stats().pkt_rcv_undecrypt, 0);
    // Clear packets have no place on a secured connection; they are acknowledged and never delivered.
    receiver.handle(data(FIRST + 100, 2_000).to_bytes(), at(300));
    assert_eq!(receiver.poll_deliver(at(900)), None);
    let stats = receiver.stats();
    assert_eq!((stats.pkt_rcv_undecrypt, stats.pkt_rcv_drop), (1, 1));
}

#[test]
fn key_requests_on_a_clear_connection_are_counted() {
    let mut world = running();
    world.inject(RECEIVER, control(RECEIVER, ControlBody::KeyRequest(even_key())));
    assert_eq!(world.receiver().ignored.key_request, 1);
    assert_unharmed(world);
}

#[test]
fn encrypted_packets_on_a_clear_connection_are_never_delivered() {
    let start = Instant::now();
    let mut receiver =
        Connection::new(Params::new(IDS[RECEIVER], IDS[SENDER], Seq::new(FIRST), start), start);
    for (step, key) in [(0, KeyParity::Even), (1, KeyParity::Odd), (2, KeyParity::Clear)] {
        receiver.handle(Data { key, ..data(FIRST + step, 0) }.to_bytes(), start);
    }
    let late = start + Duration::from_secs(1);
    assert_eq!(std::iter::from_fn(|| receiver.poll_deliver(late)).count(), 1);
    let stats = receiver.stats();
    assert_eq!((stats.pkt_recv_unique, stats.pkt_rcv_undecrypt, stats.pkt_rcv_drop), (1, 2, 2));
}

/// One of each kind of packet, with numbers near what the connection is at.
fn template() -> impl Strategy<Value = Bytes> {
    let near = prop_oneof![0u32..3_000, any::<u32>()].prop_map(|step| FIRST.wrapping_add(step) & Seq::MAX);
    let body = prop_oneof![
        Just(ControlBody::KeepAlive),
        Just(ControlBody::CongestionWarning),
        Just(ControlBody::PeerError(4000)),
        (near.clone(), 0u32..600).prop_map(|(next, number)| ack(next, number)),
        prop::collection::vec(near.clone(), 0..6).prop_map(|list| ControlBody::Nak(words(&list))),
        (near.clone(), near.clone())
            .prop_map(|(first, last)| ControlBody::Nak(words(&[first | 0x8000_0000, last]))),
        (0u32..600).prop_map(ControlBody::AckAck),
        (near.clone(), near.clone()).prop_map(|(first, last)| ControlBody::DropRequest {
            message: 0,
            first: Seq::new(first),
            last: Seq::new(last),
        }),
        Just(ControlBody::KeyRequest(even_key())),
        Just(ControlBody::KeyReply(even_key())),
        prop::collection::vec(any::<u8>(), 0..80).prop_map(|body| ControlBody::Handshake(body.into())),
    ];
    let packet = prop_oneof![
        (near, any::<u32>()).prop_map(|(seq, timestamp)| data(seq, timestamp).to_bytes()),
        body.prop_map(|body| control(RECEIVER, body)),
    ];
    (packet, prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()))).prop_map(
        |(packet, mutation)| {
            let mut bytes = packet.to_vec();
            if let Some((at, value)) = mutation {
                let at = at.index(bytes.len());
                bytes[at] = value;
                bytes.truncate(bytes.len() - usize::from(value % 5));
            }
            bytes.into()
        },
    )
}

/// An engine that has sent and received for a while, in one of its states.
fn in_state(which: u8) -> (Connection, Instant) {
    let start = Instant::now();
    let mut params = Params::new(IDS[RECEIVER], IDS[SENDER], Seq::new(FIRST), start);
    params.crypto = (which % 2 == 1).then(|| crypto(&even_key()));
    let mut engine = Connection::new(params, start);
    if which < 2 {
        return (engine, start);
    }
    for step in 0..300u32 {
        let now = start + Duration::from_millis(u64::from(step));
        engine.push(&[0x47; 188], now).expect("open");
        if step % 7 != 0 {
            engine.handle(data(FIRST + step, step * 1_000).to_bytes(), now);
        }
        while engine.poll_transmit().is_some() {}
        while engine.poll_deliver(now).is_some() {}
    }
    let now = start + Duration::from_millis(300);
    match which {
        2..6 => {}
        6 | 7 => engine.handle(control(RECEIVER, ControlBody::Shutdown), now),
        _ => engine.close(now),
    }
    (engine, now)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_packets_never_panic_and_never_grow_memory(
        which in 0u8..10,
        packets in prop::collection::vec((template(), 0u64..40_000), 1..150),
    ) {
        let (mut engine, mut now) = in_state(which);
        let mut injected = 0u64;
        for (packet, pause) in packets {
            now += Duration::from_micros(pause);
            injected += 1;
            engine.handle(packet, now);
            let mut sent = 0;
            while engine.poll_transmit().is_some() {
                sent += 1;
            }
            // The send buffer's 300 packets at most, and an answer or two.
            prop_assert!(sent <= 310, "{sent} datagrams for one");
            while engine.poll_deliver(now).is_some() {}
            let stats = engine.stats();
            prop_assert!(stats.pkt_rcv_buf <= injected + 300);
            prop_assert!(stats.pkt_rcv_avail <= 8192 && stats.pkt_snd_buf <= 300);
            prop_assert!(stats.pkt_flow_window <= 8192);
            check_identity(&stats)?;
            prop_assert_eq!(engine.poll_timeout().is_none(), engine.closed().is_some());
            if let Some(at) = engine.poll_timeout() {
                prop_assert!(at <= now + Duration::from_secs(85));
            }
        }
        // Whatever was believed, the connection ends, and with it everything that it holds.
        for _ in 0..200 {
            now += Duration::from_millis(500);
            engine.handle_timeout(now);
            while engine.poll_transmit().is_some() {}
            while engine.poll_deliver(now).is_some() {}
        }
        prop_assert!(engine.closed().is_some());
        prop_assert_eq!(engine.stats().pkt_rcv_buf, 0);
    }
}

fn check_identity(stats: &Stats) -> Result<(), TestCaseError> {
    let told =
        stats.pkt_recv_unique + stats.pkt_rcv_duplicate + stats.pkt_rcv_belated + stats.pkt_rcv_undecrypt;
    prop_assert_eq!(stats.pkt_recv, told);
    Ok(())
}
