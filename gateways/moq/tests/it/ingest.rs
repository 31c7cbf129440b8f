//! What a scripted publisher makes of the gateway, message by message.

use std::time::Duration;

use bytes::Bytes;
use moqgate_core::{
    Announcement, BroadcastConsumer, ForwardError, Protocol, Session, StreamCode, Subscription,
    TrackConsumer, TrackError,
};
use moqgate_moq::wire::Version::{Lite03, Lite04, Lite05, Lite06};
use moqgate_moq::wire::{
    self, BidiType, Datagram, Range, Role, Setup, SubscribeReply, SubscribeUpdate, Version, stream_code,
};

use crate::peer::{HOP, Peer, Stream, start};
use crate::rig::*;

const OUR_HOP: u64 = 50;

const INFO: wire::TrackInfo =
    wire::TrackInfo { priority: 60, ordered: 0, max_age: Duration::from_secs(30), timescale: 90_000 };

/// A gateway, a publisher that has announced `cam`, and a local viewer of it.
struct Scene {
    server: Server,
    peer: Peer,
    announcements: Stream,
    viewer: Session,
    cam: BroadcastConsumer,
}

impl Scene {
    async fn new(version: Version) -> Self {
        let server = Server::start(OUR_HOP);
        let peer = Peer::connect(server.address, version).await;
        let mut announcements = peer.announcing().await;
        let hops: &[u64] = if version.has_announce_ok() { &[] } else { &[HOP] };
        announcements.send(&start("cam", hops)).await;
        let viewer = local(&server.gate, Protocol::Webrtc);
        let cam = within("announcement", viewer.consumer().wait(&path("cam"))).await.expect("allowed");
        Self { server, peer, announcements, viewer, cam }
    }

    /// A reader of `v`, and the publisher's side of its subscription.
    async fn reading(&self, subscription: Subscription) -> (TrackConsumer, Stream, wire::Subscribe) {
        let publisher = async {
            self.peer.describe("cam", "v", &INFO).await;
            self.peer.subscribed().await
        };
        let reader = within("reader", self.cam.subscribe("v", subscription));
        let (reader, (stream, subscribe)) = tokio::join!(reader, publisher);
        (reader.expect("accepted"), stream, subscribe)
    }

    async fn stop(self) {
        let Self { server, peer, announcements, viewer, cam } = self;
        drop((peer, announcements, viewer, cam));
        server.stop().await;
    }
}

fn payloads(frames: &[(u64, Bytes)]) -> Vec<&[u8]> {
    frames.iter().map(|(_, payload)| &payload[..]).collect()
}

#[tokio::test]
async fn a_track_is_asked_for_received_billed_and_ended() {
    for version in Version::PREFERENCE {
        let scene = Scene::new(version).await;
        let (mut reader, mut stream, subscribe) = scene.reading(Subscription::default()).await;
        assert_eq!((subscribe.id, subscribe.broadcast.as_str(), subscribe.track.as_str()), (0, "cam", "v"));
        assert_eq!(subscribe.terms.priority, Subscription::default().priority);
        assert_eq!(subscribe.terms.range, Range::default());

        if version.has_start_and_end() {
            stream.send(&SubscribeReply::Start { group: 5 }).await;
        }
        scene.peer.whole_group(0, 5, &[(90_000, b"key"), (93_000, b"b"), (91_500, b"")]).await;
        let group = next_group(&mut reader).await.expect("a group");
        assert_eq!(group.sequence(), 5);
        let frames = drain(group).await;
        assert_eq!(payloads(&frames), [&b"key"[..], b"b", b""]);
        if version.has_tracks() {
            let times: Vec<u64> = frames.iter().map(|(time, _)| *time).collect();
            assert_eq!(times, [1_000_000, 1_033_333, 1_016_667]);
        }
        scene.peer.whole_group(0, 6, &[(180_000, b"more")]).await;
        assert_eq!(payloads(&drain(next_group(&mut reader).await.expect("a group")).await), [&b"more"[..]]);

        if version.has_start_and_end() {
            stream.send(&SubscribeReply::End { group: 7 }).await;
        }
        stream.finish();
        assert!(next_group(&mut reader).await.is_none(), "{version}: the end is clean");
        stream.expect_fin().await;
        let row = row(&scene.server.gate, "cam", Protocol::Moq).expect("billed");
        assert_eq!(moved(&row.ingress), (2, 4, 8), "{version}");
        assert_eq!(row.ingress.active.live(), 0);
        drop(reader);
        scene.stop().await;
    }
}

#[tokio::test]
async fn updates_follow_the_readers_and_the_last_one_ends_it() {
    let scene = Scene::new(Lite06).await;
    let (first, mut stream, subscribe) =
        scene.reading(Subscription { priority: 60, ..Subscription::default() }).await;
    assert_eq!(subscribe.terms.priority, 60);
    let wanted = Subscription { priority: 90, max_age: Duration::from_secs(3), ..Subscription::default() };
    let second = within("second reader", scene.cam.subscribe("v", wanted)).await.expect("there");
    let update: SubscribeUpdate = stream.message().await;
    assert_eq!((update.0.priority, update.0.max_age), (90, Duration::from_secs(3)));
    drop(second);
    let update: SubscribeUpdate = stream.message().await;
    assert_eq!(update.0.priority, 60);
    drop(first);
    stream.expect_fin().await;
    // Whoever comes now is served anew, not from what has gone stale.
    let (_again, _stream, subscribe) = scene.reading(Subscription::default()).await;
    assert_eq!(subscribe.id, 1);
    scene.stop().await;
}

#[tokio::test]
async fn a_refused_track_is_refused_to_the_reader() {
    let scene = Scene::new(Lite06).await;
    for (code, error) in [
        (stream_code::NOT_FOUND, TrackError::NotFound),
        (stream_code::UNROUTABLE, TrackError::Unroutable),
        (stream_code::GOING_AWAY, TrackError::Refused(StreamCode(4))),
    ] {
        let publisher = async {
            let mut stream = scene.peer.accept(BidiType::Track).await;
            stream.reset(code);
        };
        let reader = within("refusal", scene.cam.subscribe("nope", Subscription::default()));
        let (reader, ()) = tokio::join!(reader, publisher);
        assert_eq!(reader.err(), Some(error));
    }
    scene.stop().await;
}

#[tokio::test]
async fn a_group_that_breaks_tells_its_readers_why() {
    let scene = Scene::new(Lite06).await;
    let (mut reader, _stream, _) = scene.reading(Subscription::default()).await;

    let mut broken = scene.peer.group(0, 0, &[(0, b"whole")]).await;
    let group = next_group(&mut reader).await.expect("a group");
    broken.reset(stream_code::EVICTED);
    assert_eq!(ended(group).await, StreamCode::EVICTED);

    // A frame of 4 bytes of which 2 come before the FIN.
    let mut cut = scene.peer.group(0, 1, &[]).await;
    cut.write(&[0x00, 0x04, b'h', b'a']).await;
    cut.finish();
    assert_eq!(ended(next_group(&mut reader).await.expect("a group")).await, StreamCode(0x37));

    let mut huge = scene.peer.group(0, 2, &[]).await;
    huge.write(&[0x00, 0x82, 0x00, 0x00, 0x01]).await;
    assert_eq!(ended(next_group(&mut reader).await.expect("a group")).await, StreamCode(0x38));
    assert_eq!(huge.stopped().await, Some(stream_code::FRAME_TOO_LARGE));

    let mut unknown = scene.peer.group(100, 0, &[]).await;
    assert_eq!(unknown.stopped().await, Some(stream_code::CANCELLED));

    scene.peer.whole_group(0, 3, &[(9, b"on")]).await;
    assert_eq!(payloads(&drain(next_group(&mut reader).await.expect("a group")).await), [&b"on"[..]]);
    scene.stop().await;
}

async fn ended(mut group: moqgate_core::GroupConsumer) -> StreamCode {
    let mut collector = Collector::default();
    loop {
        match within("end of group", group.forward(&mut collector)).await {
            Ok(moqgate_core::Forwarded::Frames(_)) => {}
            Ok(end) => panic!("{end:?}"),
            Err(ForwardError::Aborted(code)) => return code,
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn groups_may_come_after_the_end_was_said() {
    for version in [Lite05, Lite06] {
        let scene = Scene::new(version).await;
        let (mut reader, mut stream, _) = scene.reading(Subscription::default()).await;
        stream.send(&SubscribeReply::Start { group: 0 }).await;
        stream.send(&SubscribeReply::End { group: 2 }).await;
        stream.finish();
        scene.peer.whole_group(0, 1, &[(1, b"b")]).await;
        assert_eq!(next_group(&mut reader).await.expect("a group").sequence(), 1);
        scene.peer.whole_group(0, 0, &[(0, b"a")]).await;
        let late = next_group(&mut reader).await;
        assert!(late.is_none_or(|group| group.sequence() == 0), "{version}");
        assert!(next_group(&mut reader).await.is_none(), "{version}");
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_track_that_contradicts_itself_fails() {
    let scene = Scene::new(Lite06).await;
    let (mut reader, mut stream, _) = scene.reading(Subscription::default()).await;
    scene.peer.whole_group(0, 4, &[(0, b"x")]).await;
    next_group(&mut reader).await.expect("a group");
    stream.send(&SubscribeReply::End { group: 2 }).await;
    let failed = within("failure", reader.next_group()).await;
    assert_eq!(failed.err(), Some(TrackError::Refused(StreamCode(0x12))));
    scene.stop().await;
}

#[tokio::test]
async fn a_track_that_was_let_go_is_asked_for_again() {
    let scene = Scene::new(Lite06).await;
    let (mut reader, mut stream, subscribe) = scene.reading(Subscription::default()).await;
    scene.peer.whole_group(subscribe.id, 0, &[(0, b"a")]).await;
    next_group(&mut reader).await.expect("a group");
    stream.finish();
    let (_stream, subscribe) = scene.peer.subscribed().await;
    assert_eq!(subscribe.id, 1);
    scene.peer.whole_group(subscribe.id, 1, &[(1, b"b")]).await;
    assert_eq!(next_group(&mut reader).await.expect("the track goes on").sequence(), 1);
    scene.stop().await;
}

#[tokio::test]
async fn datagrams_are_groups_of_one_frame() {
    for version in [Lite05, Lite06] {
        let scene = Scene::new(version).await;
        let (mut reader, _stream, _) = scene.reading(Subscription::default()).await;
        let datagram = |subscribe_id, sequence| Datagram {
            subscribe_id,
            sequence,
            timestamp: 90_000,
            payload: Bytes::from_static(b"world"),
        };
        scene.peer.quic.send_datagram(datagram(100, 1).encode()).expect("sent");
        scene.peer.quic.send_datagram(Bytes::from_static(&[0xff])).expect("sent");
        scene.peer.quic.send_datagram(datagram(0, 8).encode()).expect("sent");
        let group = next_group(&mut reader).await.expect("a group");
        assert!(group.is_datagram());
        assert_eq!(group.sequence(), 8);
        assert_eq!(drain(group).await, [(1_000_000, Bytes::from_static(b"world"))]);
        let billed = row(&scene.server.gate, "cam", Protocol::Moq).expect("billed").ingress;
        assert_eq!((moved(&billed), billed.datagrams), ((1, 1, 5), 1));
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_new_route_keeps_readers_and_a_new_publisher_does_not() {
    let mut scene = Scene::new(Lite06).await;
    let (mut reader, _stream, _) = scene.reading(Subscription::default()).await;
    let mut seen = scene.viewer.consumer().announced(&path(""));
    within("listed", seen.next()).await;

    let route = |hops: &[u64]| wire::Route { hops: hops.to_vec(), warm: 3, cold: 4 };
    scene.announcements.send(&wire::Announcement::RestartId { id: 0, route: route(&[]) }).await;
    let Announcement::Rerouted(rerouted) = within("new route", seen.next()).await else {
        panic!("a new route")
    };
    assert_eq!((rerouted.route().cost.warm, rerouted.route().cost.cold), (4, 5));
    scene.peer.whole_group(0, 0, &[(0, b"on")]).await;
    next_group(&mut reader).await.expect("the track goes on");

    scene.announcements.send(&wire::Announcement::RestartId { id: 0, route: route(&[99]) }).await;
    within("end of the first publisher", scene.cam.closed()).await;
    assert!(within("failure", reader.next_group()).await.is_err());
    let again =
        within("second publisher", scene.viewer.consumer().wait(&path("cam"))).await.expect("allowed");
    assert_eq!(again.route().hops, [99, HOP]);
    scene.stop().await;
}

#[tokio::test]
async fn what_is_under_way_when_the_broadcast_is_withdrawn_arrives() {
    for version in Version::PREFERENCE {
        let mut scene = Scene::new(version).await;
        let (mut reader, mut stream, _) = scene.reading(Subscription::default()).await;
        let mut last = scene.peer.group(0, 0, &[(0, b"begun")]).await;
        let group = next_group(&mut reader).await.expect("a group");
        if version.has_start_and_end() {
            stream.send(&SubscribeReply::End { group: 1 }).await;
        }
        stream.finish();
        scene.announcements.finish();
        // The gateway has read both ends once it has ended its half of the subscription.
        stream.expect_fin().await;
        last.write(if version.has_tracks() { &[0x02, 0x02, b'o', b'k'] } else { &[0x02, b'o', b'k'] }).await;
        last.finish();
        assert_eq!(payloads(&drain(group).await), [&b"begun"[..], b"ok"], "{version}");
        assert!(next_group(&mut reader).await.is_none(), "{version}");
        within("end", scene.cam.closed()).await;
        scene.stop().await;
    }
}

#[tokio::test]
async fn loops_are_not_published() {
    let server = Server::start(OUR_HOP);
    let peer = Peer::connect(server.address, Lite05).await;
    let mut announcements = peer.announcing().await;
    announcements.send(&start("ours", &[3, OUR_HOP])).await;
    announcements.send(&start("theirs", &[3])).await;
    let viewer = local(&server.gate, Protocol::Webrtc);
    let theirs = within("announcement", viewer.consumer().wait(&path("theirs"))).await.expect("allowed");
    assert_eq!(theirs.route().hops, [3, HOP]);
    assert!(viewer.consumer().consume(&path("ours")).is_none());
    drop((theirs, peer));
    server.stop().await;
}

#[tokio::test]
async fn announcements_end_with_their_messages_their_stream_and_their_session() {
    for version in Version::PREFERENCE {
        let mut scene = Scene::new(version).await;
        let end = if version.has_typed_announce() {
            wire::Announcement::EndId { id: 0 }
        } else {
            wire::Announcement::End { suffix: "cam".into() }
        };
        scene.announcements.send(&end).await;
        within("end", scene.cam.closed()).await;

        // The same path at once again.
        let hops: &[u64] = if version.has_announce_ok() { &[] } else { &[HOP] };
        scene.announcements.send(&start("cam", hops)).await;
        let consumer = scene.viewer.consumer();
        let again = within("again", consumer.wait(&path("cam"))).await.expect("allowed");
        scene.announcements.finish();
        within("end of stream", again.closed()).await;
        assert!(scene.peer.quic.close_reason().is_none(), "{version}: the session goes on");

        let other = Peer::connect(scene.server.address, version).await;
        let mut announcements = other.announcing().await;
        announcements.send(&start("other", hops)).await;
        let seen = within("other", consumer.wait(&path("other"))).await.expect("allowed");
        other.quic.close(0u8.into(), b"");
        within("end of session", seen.closed()).await;
        let billed = row(&scene.server.gate, "other", Protocol::Moq).expect("a row").ingress;
        assert_eq!((billed.announced.opened, billed.announced.live()), (1, 0));
        drop((seen, again));
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_publisher_that_comes_back_takes_its_path_over() {
    let scene = Scene::new(Lite06).await;
    // From the same address, while the first connection has not been missed yet.
    let back = Peer::connect(scene.server.address, Lite06).await;
    let mut announcements = back.announcing().await;
    announcements.send(&start("cam", &[8])).await;
    within("end of the ghost", scene.cam.closed()).await;
    let again = within("takeover", scene.viewer.consumer().wait(&path("cam"))).await.expect("allowed");
    assert_eq!(again.route().hops, [8, HOP]);
    assert_eq!(scene.peer.closed().await, 0x0);
    drop((back, again));
    scene.stop().await;
}

#[tokio::test]
async fn broken_announcements_close_the_session() {
    let cases: [(Version, &[u8]); 6] = [
        // A live suffix again.
        (Lite04, &[0x05, 0x01, 0x01, b'a', 0x01, 0x07, 0x05, 0x01, 0x01, b'a', 0x01, 0x07]),
        (Lite03, &[0x04, 0x01, 0x01, b'a', 0x01, 0x04, 0x01, 0x01, b'a', 0x01]),
        // An id that was never given.
        (Lite06, &[0x01, 0x01, 0x05]),
        // A byte too many.
        (Lite06, &[0x00, 0x07, 0x02, b't', b'r', 0x00, 0x00, 0x00, 0x07]),
        // The same hop twice.
        (Lite06, &[0x00, 0x0a, 0x04, b'd', b'u', b'p', b'h', 0x02, 0x05, 0x05, 0x00, 0x00]),
        // A length that nobody needs.
        (Lite05, &[0x80, 0x10, 0x00, 0x00]),
    ];
    let server = Server::start(OUR_HOP);
    for (version, bytes) in cases {
        let peer = Peer::connect(server.address, version).await;
        let mut announcements = peer.announcing().await;
        announcements.write(bytes).await;
        assert_eq!(peer.closed().await, 0x3, "{version} {bytes:02x?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn who_only_subscribes_is_not_asked() {
    let server = Server::start(OUR_HOP);
    let mut setup = Setup::default();
    setup.set_role(Role::Subscriber);
    let subscriber = Peer::connect_as(server.address, Lite06, &setup).await;
    // Something that is answered after whatever the gateway would have opened by itself.
    let (mut send, mut recv) = within("open", subscriber.quic.open_bi()).await.expect("open");
    send.write_all(&[0x30]).await.expect("taken");
    within("reset", recv.read_to_end(1)).await.expect_err("an unknown request is reset");
    let asked = tokio::time::timeout(Duration::from_millis(100), subscriber.quic.accept_bi()).await;
    assert!(asked.is_err(), "nothing was opened");
    drop(subscriber);
    server.stop().await;
}

#[tokio::test]
async fn noise_costs_a_peer_its_streams_or_its_session_and_nobody_else_anything() {
    let server = Server::start(OUR_HOP);
    let good = Peer::connect(server.address, Lite06).await;
    let mut announcements = good.announcing().await;
    announcements.send(&start("good", &[])).await;
    let viewer = local(&server.gate, Protocol::Webrtc);
    let seen = within("announcement", viewer.consumer().wait(&path("good"))).await.expect("allowed");
    for version in Version::PREFERENCE {
        for kind in 0..8 {
            let noisy = Peer::connect(server.address, version).await;
            for seed in 0..32_u64 {
                let bytes = noise(kind, seed);
                // The gateway may have had enough at any moment.
                if let Ok(mut stream) = noisy.quic.open_uni().await {
                    let _closed = stream.write_all(&bytes).await;
                    let _closed = if seed % 2 == 0 { stream.finish() } else { Ok(()) };
                }
                let Ok(Ok((mut stream, _))) =
                    tokio::time::timeout(Duration::from_secs(1), noisy.quic.open_bi()).await
                else {
                    break;
                };
                let _closed = stream.write_all(&bytes).await;
                let _closed = noisy.quic.send_datagram(bytes.into());
            }
        }
    }
    assert!(!seen.is_closed());
    let publisher = async {
        good.describe("good", "v", &INFO).await;
        good.subscribed().await
    };
    let reader = within("reader", seen.subscribe("v", Subscription::default()));
    let (reader, (_stream, subscribe)) = tokio::join!(reader, publisher);
    good.whole_group(subscribe.id, 0, &[(0, b"fine")]).await;
    let group = next_group(&mut reader.expect("accepted")).await.expect("a group");
    assert_eq!(payloads(&drain(group).await), [&b"fine"[..]]);
    drop((good, seen));
    server.stop().await;
}

/// A stream type, a plausible length, and bytes that mean nothing (SplitMix64).
fn noise(kind: u8, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_add(u64::from(kind) << 32);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).to_le_bytes()
    };
    let length = usize::from(next()[0] % 64);
    let mut bytes = vec![kind, length as u8];
    bytes.extend((0..=length / 8).flat_map(|_| next().map(|byte| if byte < 200 { byte % 12 } else { byte })));
    bytes
}
