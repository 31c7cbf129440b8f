//! A listener and a dialer, each with an origin of its own.

use std::time::Duration;

use moqgate_core::{Protocol, Start, Subscription};
use moqgate_moq::DialConfig;
use moqgate_moq::wire::Version;
use tokio::io::AsyncWriteExt as _;

use crate::rig::*;

const EVERY_WAY: [(&str, Version); 8] = [
    ("moqt", Version::Lite06),
    ("moqt", Version::Lite05),
    ("moqt", Version::Lite04),
    ("moqt", Version::Lite03),
    ("https", Version::Lite06),
    ("https", Version::Lite05),
    ("https", Version::Lite04),
    ("https", Version::Lite03),
];

/// A group with reordered timestamps, as B-frames make them, and payloads from empty to larger than a QUIC window.
fn gop(at: u64) -> Vec<moqgate_core::Frame> {
    let sizes = [70_000usize, 1, 0, 1500, 300_000];
    let order = [0u64, 3, 1, 2, 4];
    (0..5).map(|i| frame(at + order[i] * 33_333, vec![at as u8 ^ i as u8; sizes[i]])).collect()
}

/// Timestamps and sizes, for a message that can be read.
fn brief(frames: &[(u64, bytes::Bytes)]) -> Vec<(u64, usize)> {
    frames.iter().map(|(timestamp, payload)| (*timestamp, payload.len())).collect()
}

#[tokio::test]
async fn media_arrives_whole_and_is_billed_alike_on_every_version_and_transport() {
    for (scheme, version) in EVERY_WAY {
        let server = Server::start(11);
        let encoder = local(&server.gate, Protocol::Srt);
        let broadcast = publish(&encoder, "live/cam.hang");
        let video = track(&broadcast, "0.avc3");
        push_group(&video, &gop(1_000_000));
        push_group(&video, &gop(2_000_000));

        let client = Client::start(&server.url(scheme), 22, &[version]);
        let viewer = local(&client.gate, Protocol::Webrtc);
        let seen =
            within("announcement", viewer.consumer().wait(&path("live/cam.hang"))).await.expect("allowed");
        let mut reader =
            within("subscribe", seen.subscribe("0.avc3", Subscription::default())).await.expect("there");

        // A late joiner begins with the newest group, at its first frame.
        let mut received = drain(next_group(&mut reader).await.expect("a group")).await;
        let mut expected = contents(&gop(2_000_000));
        for at in 3..6 {
            push_group(&video, &gop(at * 1_000_000));
            expected.extend(contents(&gop(at * 1_000_000)));
            received.extend(drain(next_group(&mut reader).await.expect("a group")).await);
        }
        let what = format!("{version} over {scheme}");
        if version >= Version::Lite05 {
            assert_eq!(brief(&received), brief(&expected), "{what}");
            assert!(received == expected, "{what}: payloads");
        } else {
            // Timestamps do not exist there.
            let payloads =
                |frames: &[(u64, bytes::Bytes)]| frames.iter().map(|(_, p)| p.clone()).collect::<Vec<_>>();
            assert!(payloads(&received) == payloads(&expected), "{what}");
        }

        video.finish();
        assert!(next_group(&mut reader).await.is_none(), "{what}: a clean end");
        drop((reader, seen, broadcast));

        let sent = row(&server.gate, "live/cam.hang", Protocol::Moq).expect("a row").egress;
        let taken = row(&client.gate, "live/cam.hang", Protocol::Moq).expect("a row").ingress;
        let watched = row(&client.gate, "live/cam.hang", Protocol::Webrtc).expect("a row").egress;
        let bytes: u64 = expected.iter().map(|(_, payload)| payload.len() as u64).sum();
        assert_eq!(moved(&sent), (4, 20, bytes), "{what}: what the listener charged its viewer");
        assert_eq!(moved(&taken), moved(&sent), "{what}: what the dialer took in");
        assert_eq!(moved(&watched), moved(&sent), "{what}: what its own viewer was charged");
        client.stop().await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_dialer_publishes_its_broadcasts() {
    for (scheme, version) in EVERY_WAY {
        let server = Server::start(11);
        let client = Client::start(&server.url(scheme), 22, &[version]);
        let encoder = local(&client.gate, Protocol::Srt);
        let viewer = local(&server.gate, Protocol::Webrtc);
        // Announced after the session is there.
        eventually("a session", || server.count("sessions_opened") == 1).await;
        let broadcast = publish(&encoder, "up/cam");
        let audio = track(&broadcast, "1.aac");

        let seen = within("announcement", viewer.consumer().wait(&path("up/cam"))).await.expect("allowed");
        let mut reader =
            within("subscribe", seen.subscribe("1.aac", Subscription::default())).await.expect("there");
        push_group(&audio, &[frame(5, "hello")]);
        let received = drain(next_group(&mut reader).await.expect("a group")).await;
        assert_eq!(
            received.last().map(|(_, payload)| &payload[..]),
            Some(&b"hello"[..]),
            "{version} over {scheme}"
        );
        drop(broadcast);
        within("the end of the broadcast", seen.closed()).await;
        client.stop().await;
        server.stop().await;
    }
}

/// What browsers ask for, and what a TS import makes: bursts of eight one-frame groups. A released relay skips most.
#[tokio::test]
async fn a_viewer_with_max_age_0_gets_every_group_of_every_burst() {
    const BURSTS: u64 = 60;
    let server = Server::start(11);
    let encoder = local(&server.gate, Protocol::Srt);
    let broadcast = publish(&encoder, "live/cam");
    let audio = track(&broadcast, "1.aac");
    let client = Client::start(&server.url("https"), 22, &[Version::Lite05]);
    let viewer = local(&client.gate, Protocol::Webrtc);
    let seen = within("announcement", viewer.consumer().wait(&path("live/cam"))).await.expect("allowed");
    let asked = Subscription { max_age: Duration::ZERO, ..Subscription::default() };
    let mut reader = within("subscribe", seen.subscribe("1.aac", asked)).await.expect("there");
    push_group(&audio, &[frame(0, "first")]);
    assert_eq!(next_group(&mut reader).await.map(|group| group.sequence()), Some(0));

    let mut sequences = Vec::new();
    for burst in 0..BURSTS {
        for i in 0..8 {
            push_group(&audio, &[frame((burst * 8 + i) * 21_333, vec![7u8; 352])]);
        }
        for _ in 0..8 {
            sequences.push(next_group(&mut reader).await.expect("a group").sequence());
        }
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=BURSTS * 8).collect::<Vec<_>>());
    client.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_start_in_the_past_begins_there() {
    let server = Server::start(11);
    let encoder = local(&server.gate, Protocol::Srt);
    let broadcast = publish(&encoder, "live/cam");
    let video = track(&broadcast, "0.avc3");
    for at in 0..5 {
        push_group(&video, &[frame(at * 1_000_000, vec![at as u8; 10])]);
    }
    let client = Client::start(&server.url("moqt"), 22, &[Version::Lite06]);
    let viewer = local(&client.gate, Protocol::Webrtc);
    let seen = within("announcement", viewer.consumer().wait(&path("live/cam"))).await.expect("allowed");
    let asked =
        Subscription { start: Start::From(2), max_age: Duration::from_secs(20), ..Subscription::default() };
    let mut reader = within("subscribe", seen.subscribe("0.avc3", asked)).await.expect("there");
    let mut sequences = Vec::new();
    for _ in 0..3 {
        sequences.push(next_group(&mut reader).await.expect("a group").sequence());
    }
    sequences.sort_unstable();
    assert_eq!(sequences, [2, 3, 4]);
    client.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn nothing_comes_back_to_where_it_came_from() {
    let server = Server::start(11);
    let client = Client::start(&server.url("moqt"), 22, &[Version::Lite06]);
    let (above, below) = (local(&server.gate, Protocol::Srt), local(&client.gate, Protocol::Srt));
    let _up = publish(&below, "from/below");
    let _down = publish(&above, "from/above");
    within("up", above.consumer().wait(&path("from/below"))).await.expect("allowed");
    within("down", below.consumer().wait(&path("from/above"))).await.expect("allowed");
    // Each is there once, from where it was published.
    for gate in [&server.gate, &client.gate] {
        let names: Vec<_> = gate.origin().broadcasts().iter().map(|found| found.path.to_string()).collect();
        assert_eq!(names, ["from/above", "from/below"]);
    }
    client.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_dialer_comes_back_after_the_listener_did() {
    let server = Server::start(11);
    let address = server.address;
    let client = Client::start(&server.url("https"), 22, &Version::PREFERENCE);
    let encoder = local(&client.gate, Protocol::Srt);
    let _broadcast = publish(&encoder, "up/cam");
    let viewer = local(&server.gate, Protocol::Webrtc);
    within("first", viewer.consumer().wait(&path("up/cam"))).await.expect("allowed");
    drop(viewer);
    // GOAWAY, then the port goes.
    server.stop().await;

    let server = Server::start_at(address, gate(33));
    let viewer = local(&server.gate, Protocol::Webrtc);
    within("again", viewer.consumer().wait(&path("up/cam"))).await.expect("allowed");
    client.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn sessions_are_listed_with_their_link_and_can_be_ended() {
    let server = Server::start(11);
    let client = Client::start(&server.url("moqt"), 22, &Version::PREFERENCE);
    let listed = || server.gate.origin().sessions();
    eventually("listed", || listed().iter().any(|session| session.protocol == Protocol::Moq)).await;
    let session = listed().pop().expect("listed");
    assert!(
        session.link.iter().any(|(name, value)| *name == "received_bytes" && *value > 0.0),
        "{:?}",
        session.link
    );
    assert!(server.gate.origin().kill(&session.id, moqgate_core::KillReason::Operator));
    eventually("gone", || server.count("sessions_closed") == 1).await;
    eventually("back", || server.count("sessions_opened") == 2).await;
    client.stop().await;
    server.stop().await;
}

/// How a browser or a released peer is pointed at a self-signed listener: the hash first, over TCP on the same port.
#[tokio::test]
async fn a_plain_http_url_pins_the_certificate_that_the_port_serves() {
    let server = Server::start(11);
    let tcp = tokio::net::TcpListener::bind(server.address).await.expect("the TCP port of the same number");
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n{}", server.hash.current());
    let config = DialConfig::new(server.url("http").parse().expect("a URL"));
    let client = Client::dial(config, gate(22));
    let (mut peer, _) = within("request", tcp.accept()).await.expect("accepts");
    peer.write_all(answer.as_bytes()).await.expect("writes");
    peer.shutdown().await.expect("ends");
    eventually("a session", || server.count("sessions_opened") == 1).await;
    client.stop().await;
    server.stop().await;
}
