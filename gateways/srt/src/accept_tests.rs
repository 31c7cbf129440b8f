//! The handshake against recorded callers and made-up ones.

use proptest::prelude::*;

use super::*;
use crate::wire::Packet;

/// Recorded conclusions of libsrt 1.5.1, body and blocks.
const PLAIN: &str = "00000005000000056897b6a3000005dc00002000ffffffff21121b3834dea1620100007f00000000000000000000000000010003\
                     00010501000000bf00780078000500063a3a2123696c3d72612f6576703d6d2c696c627500006873";
const SEALED: &str = "00000005000200072faddee7000005dc00002000ffffffff23ef6bff9967e1320100007f00000000000000000000000000010003\
                      00010501000000bf00780000000500026576696c0000612f0003000e12202901000000000200020000000404b32fc7b6131b91a7\
                      ebbe8a15a00d3d29b7945f17680a8c6c6da7da28df037130be964e2b1a24b5ed";
const FEC: &str = "00000005000000055a6dde31000005dc00002000ffffffff155c28c3b8bc3f730100007f00000000000000000000000000010003\
                   00010501000000bf00780000000700052c636566736c6f632c30313a73776f720000353a";

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
    let (pairs, _) = digits.as_chunks::<2>();
    pairs
        .iter()
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16).expect("hex"))
        .collect()
}

fn rules() -> Rules {
    Rules { latency: 200, max_latency: 8000, flow_window: 8192, defaults: Defaults::default() }
}

fn from(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

struct Bench {
    acceptor: Acceptor,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        Self { acceptor: Acceptor::new(rules(), now), now }
    }

    fn induct(&mut self, from: SocketAddr) -> Handshake {
        let request = hex(
            "00000004000000026897b6a3000005dc000020000000000121121b38000000000100007f000000000000000000000000",
        );
        let Verdict::Reply(reply) = self.acceptor.handle(request, 0, from, self.now) else {
            panic!("induction is answered")
        };
        body(&reply)
    }

    /// Sends a conclusion whose cookie is put right.
    fn conclude(&mut self, text: &str, from: SocketAddr, change: impl FnOnce(&mut Handshake)) -> Verdict {
        let cookie = self.induct(from).cookie;
        let mut request = Handshake::parse(hex(text)).expect("recorded");
        request.cookie = cookie;
        change(&mut request);
        self.acceptor.handle(request.to_bytes(), 651, from, self.now)
    }

    fn ask(&mut self, text: &str, from: SocketAddr) -> Call {
        let verdict = self.conclude(text, from, |_| {});
        let Verdict::Ask(call) = verdict else { panic!("{verdict:?}") };
        *call
    }

    fn refused(&mut self, text: &str, change: impl FnOnce(&mut Handshake)) -> Reject {
        let port = 1000 + self.acceptor.waiting() as u16;
        let verdict = self.conclude(text, from(port), change);
        let Verdict::Refuse { reply, reject, .. } = verdict else { panic!("{verdict:?}") };
        let reply = body(&reply);
        assert_eq!(reply.kind, reject.wire());
        assert!(reply.extensions.is_empty());
        reject
    }
}

fn body(datagram: &Bytes) -> Handshake {
    let packet = Packet::parse(datagram.clone()).expect("packet");
    let Packet::Control(Control { body: ControlBody::Handshake(body), .. }) = packet else {
        panic!("{packet:?}")
    };
    Handshake::parse(body).expect("handshake")
}

#[test]
fn induction_is_answered_as_recorded_and_leaves_nothing() {
    let mut bench = Bench::new();
    let reply = bench.induct(from(1));
    assert_eq!((reply.version, reply.encryption, reply.extension), (5, 0, MAGIC));
    assert_eq!((reply.initial_seq, reply.socket_id, reply.kind), (0x6897_b6a3, 0x2112_1b38, INDUCTION));
    assert_ne!(reply.cookie, 0);
    for port in 0..8000 {
        bench.induct(from(port));
    }
    assert_eq!((bench.acceptor.entries.len(), bench.acceptor.places.len()), (0, 0));
    assert_eq!(bench.acceptor.expiry.len(), 0);
}

#[test]
fn plain_call_is_asked_about_and_accepted_with_the_larger_latency() {
    let mut bench = Bench::new();
    let arrived = bench.now;
    let call = bench.ask(PLAIN, from(1));
    assert_eq!(call.stream.path.as_str(), "live/a");
    assert!(call.material.is_none());
    bench.now += Duration::from_secs(2);
    let Accepted { reply, terms } = bench.acceptor.accept(call.key, 0x2b8d_7502, bench.now).expect("pending");
    assert_eq!((terms.arrived, terms.timestamp), (arrived, 651));
    assert_eq!(terms.recv_latency, Duration::from_millis(200));
    assert_eq!(terms.send_latency, Duration::from_millis(120));
    assert_eq!((terms.max_payload, terms.flow_window, terms.flags), (1456, 8192, 0xbf));
    assert_eq!(&reply[12..16], &0x2112_1b38u32.to_be_bytes());
    let reply = body(&reply);
    assert_eq!((reply.extension, reply.kind, reply.socket_id), (1, CONCLUSION, 0x2b8d_7502));
    assert_eq!(reply.initial_seq, 0x6897_b6a3);
    let blocks = Extensions::parse(reply.extensions).expect("blocks");
    let hs = blocks.response.expect("HSRSP");
    assert_eq!((hs.flags, hs.receive_latency, hs.send_latency), (0x3f, 200, 120));
    assert_eq!(bench.acceptor.waiting(), 0);
}

#[test]
fn a_stranger_cannot_ask_for_more_latency_than_the_limit() {
    let mut bench = Bench::new();
    let verdict = bench.conclude(PLAIN, from(1), |request| {
        let mut blocks = request.extensions.to_vec();
        blocks[12..16].copy_from_slice(&[0xff; 4]);
        request.extensions = blocks.into();
    });
    let Verdict::Ask(call) = verdict else { panic!("{verdict:?}") };
    let accepted = bench.acceptor.accept(call.key, 7, bench.now).expect("pending");
    assert_eq!(accepted.terms.recv_latency, Duration::from_millis(8000));
}

#[test]
fn line_26_a_repeated_conclusion_gets_the_same_answer_and_makes_nothing() {
    let mut bench = Bench::new();
    let call = bench.ask(PLAIN, from(1));
    assert!(matches!(bench.conclude(PLAIN, from(1), |_| {}), Verdict::Silent(Silence::Waiting)));
    let first = bench.acceptor.accept(call.key, 77, bench.now).expect("pending");
    bench.now += Duration::from_millis(250);
    let Verdict::Reply(again) = bench.conclude(PLAIN, from(1), |_| {}) else { panic!("repeat is answered") };
    assert_eq!(again[16..], first.reply[16..]);
    assert_eq!(again[8..12], 250_000u32.to_be_bytes(), "only the time moves");
    assert!(bench.acceptor.accept(call.key, 78, bench.now).is_none(), "one call, one connection");
    let other = bench.conclude(PLAIN, from(1), |request| request.initial_seq += 1);
    assert!(matches!(other, Verdict::Ask(_)), "another sequence number is another connection");
    let other = bench.conclude(PLAIN, from(1), |request| request.socket_id += 1);
    assert!(matches!(other, Verdict::Ask(_)), "two sockets behind one port can coexist");
    bench.acceptor.forget(call.key);
    assert!(matches!(bench.conclude(PLAIN, from(1), |_| {}), Verdict::Ask(_)));
}

#[test]
fn a_refusal_is_repeated_without_asking_again_and_forgotten_after_its_time() {
    let mut bench = Bench::new();
    let call = bench.ask(PLAIN, from(1));
    let reply = bench.acceptor.refuse(call.key, Reject::Forbidden, bench.now).expect("pending");
    assert_eq!(body(&reply).kind, 2403);
    assert_eq!(body(&reply).socket_id, 0x2112_1b38);
    let Verdict::Reply(again) = bench.conclude(PLAIN, from(1), |_| {}) else { panic!("repeated") };
    assert_eq!(again[16..], reply[16..]);
    bench.now += PENDING_EXPIRY;
    assert!(matches!(bench.conclude(PLAIN, from(1), |_| {}), Verdict::Ask(_)));
    assert_eq!(bench.acceptor.waiting(), 1);
}

#[test]
fn pending_calls_are_bounded_and_forgotten() {
    let mut bench = Bench::new();
    for host in 0..8u8 {
        for port in 0..MAX_PENDING_PER_PLACE as u16 {
            bench.ask(PLAIN, SocketAddr::from(([192, 0, 2, host], port)));
        }
    }
    assert_eq!(bench.acceptor.waiting(), MAX_PENDING);
    let elsewhere = SocketAddr::from(([198, 51, 100, 1], 1));
    let verdict = bench.conclude(PLAIN, elsewhere, |_| {});
    assert!(matches!(verdict, Verdict::Refuse { reject: Reject::Backlog, .. }), "{verdict:?}");
    assert_eq!(bench.acceptor.entries.len(), MAX_PENDING);
    bench.now += PENDING_EXPIRY;
    bench.acceptor.expire(bench.now);
    assert_eq!((bench.acceptor.waiting(), bench.acceptor.entries.len()), (0, 0));
    assert_eq!((bench.acceptor.places.len(), bench.acceptor.expiry.len()), (0, 0));
}

#[test]
fn one_place_cannot_fill_the_table() {
    let mut bench = Bench::new();
    for port in 0..MAX_PENDING_PER_PLACE as u16 {
        bench.ask(PLAIN, from(port));
    }
    let verdict = bench.conclude(PLAIN, from(60_000), |_| {});
    assert!(matches!(verdict, Verdict::Refuse { reject: Reject::Backlog, .. }), "{verdict:?}");
    bench.ask(PLAIN, SocketAddr::from(([198, 51, 100, 1], 1)));
}

#[test]
fn impossible_fields_and_foreign_cookies_are_met_with_silence() {
    let mut bench = Bench::new();
    type Change = (fn(&mut Handshake), Silence);
    let changes: [Change; 9] = [
        (|h| h.cookie ^= 1, Silence::Cookie),
        (|h| h.version = 3, Silence::Malformed),
        (|h| h.initial_seq = 0x7fff_ffff, Silence::Malformed),
        (|h| h.initial_seq |= 0x8000_0000, Silence::Malformed),
        (|h| h.mss = 31, Silence::Malformed),
        (|h| h.flow_window = 1, Silence::Malformed),
        (|h| h.socket_id = 0, Silence::Malformed),
        (|h| h.kind = 0, Silence::Malformed),
        (|h| h.kind = -2, Silence::Malformed),
    ];
    for (index, (change, expected)) in changes.into_iter().enumerate() {
        let verdict = bench.conclude(PLAIN, from(1), change);
        let Verdict::Silent(silence) = verdict else { panic!("change {index}: {verdict:?}") };
        assert_eq!(silence, expected, "change {index}");
    }
    let stolen = bench.induct(from(1)).cookie;
    let verdict = bench.conclude(PLAIN, from(2), |request| request.cookie = stolen);
    assert!(matches!(verdict, Verdict::Silent(Silence::Cookie)));
    assert_eq!(bench.acceptor.entries.len(), 0);
}

#[test]
fn refusals_have_the_codes_that_libsrt_knows() {
    let mut bench = Bench::new();
    let with = |blocks: Extensions| {
        move |request: &mut Handshake| {
            request.extension = blocks.field();
            request.extensions = blocks.to_bytes();
        }
    };
    let hs = HsExtension { version: 0x10501, flags: 0xbf, receive_latency: 120, send_latency: 120 };
    let sid =
        |id: &[u8]| Extensions { request: Some(hs), stream_id: Some(id.to_vec()), ..Extensions::default() };
    assert_eq!(bench.refused(FEC, |_| {}), Reject::Filter);
    assert_eq!(bench.refused(PLAIN, |h| h.version = 4), Reject::Version);
    assert_eq!(bench.refused(PLAIN, |h| h.version = 6), Reject::Version);
    assert_eq!(bench.refused(PLAIN, |h| h.extension = 0), Reject::Rogue);
    assert_eq!(bench.refused(PLAIN, |h| h.extensions.truncate(30)), Reject::Rogue);
    assert_eq!(bench.refused(PLAIN, |h| h.mss = 200), Reject::Unacceptable);
    assert_eq!(bench.refused(PLAIN, with(sid(b"#!::r=a,m=x"))), Reject::BadMode);
    assert_eq!(bench.refused(PLAIN, with(sid(b"#!::r=a,m=publish,t=file"))), Reject::UnsupportedMedia);
    assert_eq!(bench.refused(PLAIN, with(sid(b""))), Reject::BadRequest);
    assert_eq!(bench.refused(PLAIN, with(sid(&[b'a'; 600]))), Reject::BadRequest);
    let file = Extensions { congestion: Some(b"file".to_vec()), ..sid(b"a") };
    assert_eq!(bench.refused(PLAIN, with(file)), Reject::Congestion);
    let group = Extensions { group: Some(Bytes::from_static(&[0; 8])), ..sid(b"a") };
    assert_eq!(bench.refused(PLAIN, with(group)), Reject::Group);
    let stream = HsExtension { flags: hs.flags | flags::STREAM, ..hs };
    assert_eq!(
        bench.refused(PLAIN, with(Extensions { request: Some(stream), ..sid(b"a") })),
        Reject::MessageApi
    );
    let old = HsExtension { version: 0x10200, ..hs };
    assert_eq!(bench.refused(PLAIN, with(Extensions { request: Some(old), ..sid(b"a") })), Reject::Rogue);
    let mut gcm = hex(SEALED).to_vec().split_off(hex(SEALED).len() - 56);
    gcm[8] = 4;
    let gcm = Extensions { key_request: Some(gcm.into()), ..sid(b"a") };
    assert_eq!(bench.refused(PLAIN, with(gcm)), Reject::CryptoMode);
}

#[test]
fn live_congestion_and_unknown_blocks_are_accepted() {
    let mut bench = Bench::new();
    let verdict = bench.conclude(PLAIN, from(1), |request| {
        let congestion = Extensions { congestion: Some(b"live".to_vec()), ..Extensions::default() };
        let unknown = [0, 99, 0, 1, 1, 2, 3, 4];
        request.extensions = [&request.extensions[..], &congestion.to_bytes(), &unknown].concat().into();
    });
    assert!(matches!(verdict, Verdict::Ask(_)), "{verdict:?}");
}

#[test]
fn an_encrypted_call_is_answered_with_its_own_key_material() {
    let mut bench = Bench::new();
    let call = bench.ask(SEALED, from(1));
    let material = call.material.as_ref().expect("KMREQ");
    let crypto = open_keys(Some(Secret::new("0123456789abc")), Some(material)).expect("right passphrase");
    assert!(crypto.is_some());
    let reply = body(&bench.acceptor.accept(call.key, 1, bench.now).expect("pending").reply);
    assert_eq!(reply.extension, 3);
    let blocks = Extensions::parse(reply.extensions).expect("blocks");
    assert_eq!(blocks.key_response.as_ref(), Some(material.raw()));
}

#[test]
fn passphrase_rules() {
    let material = Bench::new().ask(SEALED, from(1)).material;
    let code = |passphrase: Option<&str>, material| {
        open_keys(passphrase.map(Secret::new), material)
            .map(|crypto| crypto.is_some())
            .map_err(|(reject, _)| reject)
    };
    assert_eq!(code(None, None), Ok(false));
    assert_eq!(code(Some("0123456789abc"), material.as_ref()), Ok(true));
    assert_eq!(code(Some("another passphrase"), material.as_ref()), Err(Reject::BadSecret));
    assert_eq!(code(Some("0123456789abc"), None), Err(Reject::Unsecure));
    assert_eq!(code(None, material.as_ref()), Err(Reject::Unsecure));
}

#[test]
fn ipv6_neighbours_share_a_place() {
    let one = place("2001:db8:1:2:3::4".parse().expect("address"));
    assert_eq!(one, place("2001:db8:1:2:ffff::".parse().expect("address")));
    assert_ne!(one, place("2001:db8:1:3::4".parse().expect("address")));
    assert_eq!(place("::ffff:192.0.2.1".parse().expect("mapped")), place("192.0.2.1".parse().expect("v4")));
}

proptest! {
    #[test]
    fn mutated_conclusions_never_panic_and_never_amplify_without_a_cookie(
        which in prop::sample::select(vec![PLAIN, SEALED, FEC]), at: prop::sample::Index, value: u8,
        cut: prop::sample::Index, right_cookie: bool,
    ) {
        let mut bench = Bench::new();
        let cookie = bench.induct(from(1)).cookie;
        let mut bytes = hex(which).to_vec();
        if right_cookie {
            bytes[28..32].copy_from_slice(&cookie.to_be_bytes());
        }
        let at = at.index(bytes.len());
        bytes[at] = value;
        bytes.truncate(cut.index(bytes.len() + 1));
        let len = bytes.len();
        match bench.acceptor.handle(bytes.into(), 0, from(1), bench.now) {
            Verdict::Reply(reply) | Verdict::Refuse { reply, .. } => prop_assert!(reply.len() <= len + 16),
            Verdict::Silent(_) | Verdict::Ask(_) => {}
        }
    }
}
