//! No datagram and no peer can touch another peer's stream.

use bytes::Bytes;
use moqgate_srt::wire::{ControlBody, Extensions, Seq};
use moqgate_srt::{Ignored, Reject};

use crate::bench::{Bench, Caller, Phone, blocks, conclusion, handshake_packet, null_packets};

const HONEST: Caller = Caller { id: 1001, seq: 50_000 };

/// A listener with an honest publisher of `honest` that has sent 10 packets.
async fn with_honest() -> (Bench, Phone, u32) {
    let bench = Bench::start();
    let mut phone = Phone::new(bench.address).await;
    let to = phone.publish(HONEST, "honest").await;
    phone.push(to, HONEST.seq, 10).await;
    bench.until("honest data", |bench| bench.link("honest", "packets_unique") == 10.0).await;
    (bench, phone, to)
}

/// The honest publisher still works.
async fn still_there(bench: &Bench, phone: &Phone, to: u32) {
    phone.push(to, HONEST.seq + 10, 10).await;
    bench.until("more honest data", |bench| bench.link("honest", "packets_unique") == 20.0).await;
    assert_eq!(bench.link("honest", "packets_lost"), 0.0);
    let mut other = Phone::new(bench.address).await;
    other.publish(Caller { id: 77, seq: 1 }, "newcomer").await;
}

#[tokio::test]
async fn a1_every_extension_type_in_a_conclusion_leaves_the_listener_alive() {
    let (bench, phone, to) = with_honest().await;
    let mut stranger = Phone::new(bench.address).await;
    let congestion = Extensions { congestion: Some(b"file".to_vec()), ..blocks("a") };
    let filter = Extensions { filter: Some(b"fec,cols:10,rows:5".to_vec()), ..blocks("a") };
    let group = Extensions { group: Some(Bytes::from_static(&[0; 8])), ..blocks("a") };
    let answer = Extensions { key_response: Some(Bytes::from_static(&[4, 0, 0, 0])), ..blocks("a") };
    for (id, blocks, expected) in [
        (1, congestion, Reject::Congestion.wire()),
        (2, filter, Reject::Filter.wire()),
        (3, group, Reject::Group.wire()),
        (4, answer, Reject::Rogue.wire()),
    ] {
        assert_eq!(stranger.call(Caller { id, seq: 1 }, &blocks).await.kind, expected);
    }
    for kind in 0..64u16 {
        let caller = Caller { id: 100 + u32::from(kind), seq: 1 };
        let cookie = stranger.induct(caller).await;
        let mut request = conclusion(caller, cookie, &blocks("b"));
        let block = [&kind.to_be_bytes()[..], &[0, 2], &[0xff; 8]].concat();
        request.extensions = [&request.extensions[..], &block].concat().into();
        stranger.send(&handshake_packet(request)).await;
        stranger.handshake(caller.id).await;
    }
    still_there(&bench, &phone, to).await;
    bench.stop().await;
}

#[tokio::test]
async fn a2_key_material_nobody_asked_for_leaves_the_listener_alive() {
    let (bench, phone, to) = with_honest().await;
    let mut stranger = Phone::new(bench.address).await;
    for (id, len) in [(1u32, 0usize), (2, 4), (3, 56), (4, 104), (5, 1000)] {
        let key = Extensions { key_request: Some(vec![0x12; len].into()), ..blocks("a") };
        let reply = stranger.call(Caller { id, seq: 1 }, &key).await;
        assert_eq!(reply.kind, Reject::Rogue.wire(), "{len} bytes");
    }
    // Well formed, with a key length field of 0, on a listener without a passphrase.
    let mut material = vec![0x12, 0x20, 0x29, 1, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0, 4, 8];
    material.resize(32 + 40, 7);
    let key = Extensions { key_request: Some(material.into()), ..blocks("a") };
    let reply = stranger.call(Caller { id: 6, seq: 1 }, &key).await;
    assert_eq!(reply.kind, Reject::Unsecure.wire());
    still_there(&bench, &phone, to).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_spoofed_address_cannot_touch_a_stream() {
    let (bench, phone, to) = with_honest().await;
    let spoofer = Phone::new(bench.address).await;
    spoofer.control(to, ControlBody::Shutdown).await;
    spoofer.push(to, HONEST.seq + 10, 10).await;
    let drop = ControlBody::DropRequest {
        message: 0,
        first: Seq::new(HONEST.seq),
        last: Seq::new(HONEST.seq + 1000),
    };
    spoofer.control(to, drop).await;
    bench.until("seen", |bench| bench.metrics.ignored(Ignored::WrongAddress) == 12).await;
    still_there(&bench, &phone, to).await;
    bench.stop().await;
}

#[tokio::test]
async fn a3_nonsense_on_a_connection_costs_at_most_itself() {
    let (bench, phone, to) = with_honest().await;
    let mut stranger = Phone::new(bench.address).await;
    let caller = Caller { id: 9, seq: 1 };
    let its = stranger.publish(caller, "stranger").await;
    let open_range = Bytes::from_static(&[0x80, 0, 0, 5]);
    let reversed = Bytes::from_static(&[0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 1]);
    for body in [
        ControlBody::CongestionWarning,
        ControlBody::PeerError(4000),
        ControlBody::Unknown { kind: 0x7fff, subtype: 1 },
        ControlBody::Unknown { kind: 99, subtype: 0 },
        ControlBody::KeyRequest(Bytes::from_static(&[0; 4])),
        ControlBody::KeyReply(Bytes::from_static(&[0; 4])),
        ControlBody::Nak(open_range),
        ControlBody::Nak(reversed),
        ControlBody::AckAck(7),
        ControlBody::DropRequest { message: 1, first: Seq::new(9), last: Seq::new(3) },
    ] {
        stranger.control(its, body).await;
    }
    for kind in 0..=9u8 {
        for len in 0..32 {
            let mut datagram = vec![0x80, kind, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
            datagram.extend_from_slice(&its.to_be_bytes());
            datagram.resize(16 + len, 0xff);
            // A shutdown would be obeyed.
            if kind != 5 {
                stranger.send(&datagram).await;
            }
        }
    }
    for len in 0..40u8 {
        stranger.send(&vec![len; len.into()]).await;
    }
    still_there(&bench, &phone, to).await;
    bench.stop().await;
}

#[tokio::test]
async fn unknown_ids_get_no_answer() {
    let bench = Bench::start();
    let phone = Phone::new(bench.address).await;
    phone.push(0x1234, 1, 5).await;
    phone.control(0x1234, ControlBody::KeepAlive).await;
    bench.until("seen", |bench| bench.metrics.ignored(Ignored::Unknown) == 6).await;
    assert_eq!(bench.metrics.samples().iter().find(|s| s.name.contains("sent")).map(|s| s.value), Some(0));
    bench.stop().await;
}

#[tokio::test]
async fn a7_the_mtu_is_not_the_payload() {
    let bench = Bench::start();
    let mut phone = Phone::new(bench.address).await;
    let caller = Caller { id: 3, seq: 1 };
    let reply = phone.call(caller, &blocks("a")).await;
    assert_eq!(reply.mss, 1500, "a libsrt caller takes 44 bytes off for its payload");
    let mut data = moqgate_srt::wire::Data {
        seq: Seq::new(1),
        position: 3,
        in_order: true,
        key: moqgate_srt::wire::KeyParity::Clear,
        retransmitted: false,
        message: 1,
        timestamp: 0,
        destination: reply.socket_id,
        payload: null_packets(7).iter().chain(&[0xff; 140]).copied().collect(),
    };
    assert_eq!(data.payload.len(), 1456);
    phone.send(&data.to_bytes()).await;
    data.seq = data.seq.next();
    data.payload = null_packets(1);
    phone.send(&data.to_bytes()).await;
    bench.until("both", |bench| bench.link("a", "packets_unique") == 2.0).await;
    bench.stop().await;
}
