//! What strangers can do, and what it costs.

use std::net::UdpSocket;
use std::time::Duration;

use axum::http::StatusCode;
use moqgate_webrtc::metrics::Kind;
use moqgate_webrtc::{Config, Ignored};
use tokio::io::AsyncReadExt as _;

use crate::rig::{OFFER, Rig};

/// Sessions whose clients never check are gone after 20 seconds, with everything that they held.
#[tokio::test(start_paused = true)]
async fn line_69_a_peer_that_never_sends_candidates_is_given_up() {
    let rig = Rig::start(Config::default());
    for number in 0..10 {
        let answer = rig.publish(&format!("live/{number}"), OFFER).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    }
    assert_eq!((rig.metrics.live(Kind::Whip), rig.origin.sessions().len()), (10, 10));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!((rig.metrics.live(Kind::Whip), rig.origin.sessions().len()), (0, 0));
    assert!(rig.origin.broadcasts().is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn sessions_that_are_not_connected_are_few() {
    let rig = Rig::start(Config { max_pending_per_place: 3, ..Config::default() });
    let mut statuses = Vec::new();
    for number in 0..5 {
        statuses.push(rig.publish(&number.to_string(), OFFER).await.status.as_u16());
    }
    assert_eq!(statuses, [201, 201, 201, 503, 503]);
    rig.stop().await;
}

/// Many addresses together do not shut the port: whoever has waited longest makes room.
#[tokio::test]
async fn the_oldest_that_is_not_connected_makes_room() {
    let rig = Rig::start(Config { max_pending: 2, ..Config::default() });
    for path in ["a", "b", "c"] {
        assert_eq!(rig.publish(path, OFFER).await.status, StatusCode::CREATED);
    }
    while rig.metrics.live(Kind::Whip) > 2 {
        tokio::task::yield_now().await;
    }
    let mut left: Vec<_> = rig.origin.sessions().iter().map(|session| session.path.to_string()).collect();
    left.sort();
    assert_eq!(left, ["b", "c"]);
    rig.stop().await;
}

/// A flood of checks for nobody and of noise is counted and forgotten.
#[tokio::test]
async fn a_flood_leaves_nothing_behind() {
    let rig = Rig::start(Config::default());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    // A binding request with the user name "no:body".
    let mut check = vec![0, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42];
    check.extend([1; 12]);
    check.extend([0, 6, 0, 7]);
    check.extend(b"no:body\0");
    for _ in 0..200 {
        for datagram in [&check[..], &[0x80; 40], &[0xff; 1200], &[0; 3], &[]] {
            socket.send_to(datagram, rig.port).expect("loopback takes it");
        }
        tokio::task::yield_now().await;
    }
    while rig.metrics.ignored(Ignored::Fragment) == 0 || rig.metrics.ignored(Ignored::Address) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.publish("a", OFFER).await.status, StatusCode::CREATED);
    rig.stop().await;
}

/// A connection whose first frame is for nobody is closed, and so is one that says nothing.
#[tokio::test]
async fn tcp_connections_belong_to_a_session_or_go() {
    let rig = Rig::start(Config::default());
    let mut stranger = tokio::net::TcpStream::connect(rig.port).await.expect("it listens");
    tokio::io::AsyncWriteExt::write_all(&mut stranger, &[0, 4, 1, 2, 3, 4]).await.expect("it takes it");
    assert!(matches!(stranger.read(&mut [0; 8]).await, Ok(0) | Err(_)));
    rig.stop().await;
}

/// Offers that are cut off anywhere, or have bytes changed, are refused or answered, never more.
#[tokio::test]
async fn broken_offers_are_refused() {
    let rig = Rig::start(Config { max_pending_per_place: 4096, max_pending: 4096, ..Config::default() });
    for cut in (0..OFFER.len()).step_by(97) {
        let answer = rig.publish(&format!("cut/{cut}"), &OFFER[..cut]).await;
        assert!(
            [201, 400, 406].contains(&answer.status.as_u16()),
            "{cut}: {} {}",
            answer.status,
            answer.body
        );
    }
    for (number, (from, to)) in [
        ("a=group:BUNDLE 0 1", "a=group:BUNDLE 7 7 7"),
        ("a=mid:1", "a=mid:0"),
        ("a=setup:actpass", "a=setup:holdconn"),
        ("sha-256 4A", "sha-999 ZZ"),
        ("96 97 102 103", "96 96 96 96"),
        ("a=extmap:3 ", "a=extmap:99999 "),
        ("a=ssrc:2001", "a=ssrc:99999999999"),
        ("m=video 9", "m=video 0"),
        ("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = rig.publish(&format!("odd/{number}"), &OFFER.replace(from, to)).await;
        assert!(
            [201, 400, 406].contains(&answer.status.as_u16()),
            "{from}: {} {}",
            answer.status,
            answer.body
        );
    }
    rig.stop().await;
}
