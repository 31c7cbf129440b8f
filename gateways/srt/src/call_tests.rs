use super::*;
use crate::accept::{Acceptor, Rules, Verdict};
use crate::crypto::Crypto;
use crate::reject::Reject;
use crate::streamid::{Defaults, Mode};
use moqgate_core::Secret;

const PASSPHRASE: &str = "0123456789abc";

fn offer() -> Offer {
    Offer {
        remote: "127.0.0.1:9000".parse().expect("address"),
        stream_id: "#!::r=live/a,m=request".to_owned(),
        latency: 200,
        flow_window: 8192,
        local_id: 0x1234,
        initial_seq: 0x0600_0000,
    }
}

fn us() -> SocketAddr {
    "127.0.0.1:40000".parse().expect("address")
}

fn acceptor(now: Instant) -> Acceptor {
    let rules = Rules { latency: 120, max_latency: 1000, flow_window: 4096, defaults: Defaults::default() };
    Acceptor::new(rules, now)
}

fn body(datagram: &Bytes) -> (Bytes, u32) {
    match Packet::parse(datagram.clone()) {
        Ok(Packet::Control(Control { timestamp, body: ControlBody::Handshake(body), .. })) => {
            (body, timestamp)
        }
        other => panic!("no handshake: {other:?}"),
    }
}

/// The listener's answer to what the caller says now.
fn exchange(calling: &mut Calling, acceptor: &mut Acceptor, now: Instant) -> Verdict {
    let (body, timestamp) = body(&calling.poll_transmit(now).expect("due"));
    acceptor.handle(body, timestamp, us(), now)
}

fn induct(calling: &mut Calling, acceptor: &mut Acceptor, now: Instant) {
    let Verdict::Reply(reply) = exchange(calling, acceptor, now) else { panic!("no reply") };
    assert!(calling.handle(reply.clone(), now).expect("fine").is_none());
    assert!(calling.handle(reply, now).expect("repeated").is_none());
}

#[test]
fn a_call_agrees_with_our_own_listener() {
    let now = Instant::now();
    let (mut acceptor, mut calling) = (acceptor(now), Calling::new(offer(), None, now));
    induct(&mut calling, &mut acceptor, now);
    let Verdict::Ask(call) = exchange(&mut calling, &mut acceptor, now) else { panic!("no question") };
    assert_eq!((call.stream.mode, call.stream.path.as_str()), (Mode::Request, "live/a"));
    let accepted = acceptor.accept(call.key, 0x77, now).expect("pending");
    let called = calling.handle(accepted.reply, now).expect("fine").expect("connected");
    assert_eq!(called.terms.key.socket_id, 0x77);
    assert_eq!(called.terms.flow_window, 4096);
    assert_eq!(called.terms.recv_latency, accepted.terms.send_latency);
    assert_eq!(called.terms.send_latency, accepted.terms.recv_latency);
    assert_eq!(called.terms.recv_latency, Duration::from_millis(200));
}

#[test]
fn keys_of_every_length_open_at_the_listener() {
    for key_len in [16, 24, 32] {
        let now = Instant::now();
        let keys = Crypto::generate(Secret::new(PASSPHRASE), key_len).expect("keys");
        let (mut acceptor, mut calling) = (acceptor(now), Calling::new(offer(), Some(keys), now));
        induct(&mut calling, &mut acceptor, now);
        let Verdict::Ask(call) = exchange(&mut calling, &mut acceptor, now) else { panic!("no question") };
        let theirs = Crypto::open(Secret::new(PASSPHRASE), call.material.as_ref().expect("material"));
        let theirs = theirs.expect("the same passphrase");
        let accepted = acceptor.accept(call.key, 0x77, now).expect("pending");
        let called = calling.handle(accepted.reply, now).expect("fine").expect("connected");
        let ours = called.keys.expect("keys").crypto;
        let mut payload = *b"seven transport stream packets";
        let parity = ours.encrypt(Seq::new(7), &mut payload);
        let clear = theirs.decrypt(parity, Seq::new(7), Bytes::copy_from_slice(&payload));
        assert_eq!(clear.as_deref(), Some(&b"seven transport stream packets"[..]));
        assert_eq!(
            Crypto::open(Secret::new("another passphrase"), &call.material.expect("material")).err(),
            Some(crate::crypto::KeyError::WrongPassphrase)
        );
    }
}

#[test]
fn a_refusal_says_why() {
    let now = Instant::now();
    let (mut acceptor, mut calling) = (acceptor(now), Calling::new(offer(), None, now));
    induct(&mut calling, &mut acceptor, now);
    let Verdict::Ask(call) = exchange(&mut calling, &mut acceptor, now) else { panic!("no question") };
    let reply = acceptor.refuse(call.key, Reject::NotFound, now).expect("pending");
    assert_eq!(calling.handle(reply, now).err(), Some(CallError::Refused(1404)));
    assert_eq!(CallError::Refused(1404).to_string(), "refused, reason 1404 (not found)");
}

#[test]
fn requests_are_repeated_and_given_up() {
    let start = Instant::now();
    let mut calling = Calling::new(offer(), None, start);
    let (mut now, mut sent) = (start, 0);
    while calling.check(now).is_ok() {
        sent += usize::from(calling.poll_transmit(now).is_some());
        now = calling.poll_timeout();
    }
    assert_eq!((sent, now - start), (12, GIVE_UP));
}

#[test]
fn answers_of_others_and_clear_answers_to_keys_are_not_taken() {
    let now = Instant::now();
    let keys = Crypto::generate(Secret::new(PASSPHRASE), 16).expect("keys");
    let (mut acceptor, mut calling) = (acceptor(now), Calling::new(offer(), Some(keys), now));
    let Verdict::Reply(reply) = exchange(&mut calling, &mut acceptor, now) else { panic!("no reply") };
    let mut other = reply.to_vec();
    other[15] ^= 1;
    assert!(calling.handle(other.into(), now).expect("ignored").is_none());
    assert!(calling.poll_transmit(now).is_none(), "still waiting");
    assert!(calling.handle(reply, now).expect("fine").is_none());
    let Verdict::Ask(call) = exchange(&mut calling, &mut acceptor, now) else { panic!("no question") };
    let accepted = acceptor.accept(call.key, 0x77, now).expect("pending");
    let (reply, timestamp) = body(&accepted.reply);
    let mut reply = Handshake::parse(reply).expect("handshake");
    let blocks = Extensions::parse(reply.extensions).expect("blocks");
    let failed = Extensions { key_response: Some(Bytes::from_static(&[4, 0, 0, 0])), ..blocks };
    reply.extensions = failed.to_bytes();
    let body = ControlBody::Handshake(reply.to_bytes());
    let reply = Control { timestamp, destination: 0x1234, body }.to_bytes();
    assert_eq!(calling.handle(reply, now).err(), Some(CallError::Secret));
}
