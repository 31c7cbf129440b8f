//! What a session tolerates, and what ends it: scripted peers over raw QUIC.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use moqgate_core::{
    Admission, AdmissionFuture, Credential, Denied, DenyReason, Gate, OpenAdmission, Origin, OriginConfig,
    Protocol, Request,
};
use moqgate_moq::wire::Version;
use moqgate_moq::{Config, DialConfig, Listener, Trust};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::rig::*;
use crate::script::*;

#[tokio::test]
async fn a_bad_setup_closes_the_session() {
    let server = Server::start(11);
    for (setup, reason) in [
        ("01050200000000", "duplicate parameter 0x0"),
        ("01020000", "message has bytes after its last field"),
        ("01050101020100", "message has bytes after its last field"),
        ("310100", "unknown stream before SETUP"),
    ] {
        let quic = connect(server.address, Version::Lite06).await;
        uni(&quic, setup, true).await;
        assert_eq!(closed(&quic).await, (0x3, reason.into()), "{setup}");
    }
    let quic = ready(server.address, Version::Lite05).await;
    uni(&quic, "010100", true).await;
    assert_eq!(closed(&quic).await, (0x3, "second SETUP".into()));
    eventually("counted", || server.count("violations") == 1 && server.count("handshakes_failed") == 4).await;
    server.stop().await;
}

#[tokio::test]
async fn a_missing_setup_ends_in_a_timeout() {
    let config = Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        handshake_timeout: Duration::from_millis(300),
        ..Config::default()
    };
    let listener = Listener::bind(config, gate(11)).expect("binds");
    let address = listener.local_addr();
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(listener.run(stop.clone()));
    tasks.close();
    let quic = connect(address, Version::Lite06).await;
    assert_eq!(closed(&quic).await, (0x11, "timeout".into()));
    stop.cancel();
    within("stop", tasks.wait()).await;
}

#[tokio::test]
async fn our_setup_comes_first_and_requests_wait_for_the_peers() {
    let server = Server::start(11);
    let encoder = local(&server.gate, Protocol::Srt);
    let _broadcast = publish(&encoder, "cam");
    let quic = connect(server.address, Version::Lite06).await;
    // Probe 1, hop 11 and that viewers may be counted, without being asked.
    let ours = "010d 03 010101 05010b 9d7665770101".replace(' ', "");
    assert_eq!(next_uni(&quic).await, (ours, Ended::Fin));
    let (_announce, mut reply) = bi(&quic, "010100").await;
    // A group before SETUP is refused and harms nothing.
    let group = uni(&quic, "0003000000", false).await;
    let stopped = within("stop", group.stopped()).await.expect("alive").map(quinn::VarInt::into_inner);
    assert_eq!(stopped, Some(0x52e4_a40f_a8db));
    uni(&quic, "010100", true).await;
    // ANNOUNCE_OK hop 11, one: START "cam", no hops, costs 0 and 0.
    expect(&mut reply, &format!("020b01 0007 03{} 000000", ascii("cam"))).await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_unknown_costs_a_stream_and_not_the_session() {
    let server = Server::start(11);
    for version in Version::PREFERENCE {
        let quic = ready(server.address, version).await;
        for id in ["07", "20", "7fff"] {
            let (_send, mut reply) = bi(&quic, id).await;
            assert_eq!(rest(&mut reply).await, (String::new(), Ended::Reset(0x1)), "{version} {id}");
        }
        let stream = uni(&quic, "02ffff", false).await;
        assert!(within("stop", stream.stopped()).await.expect("alive").is_some());
        let (_send, mut reply) = bi(&quic, "04").await;
        let mut length = [0];
        within("PROBE still answers", reply.read_exact(&mut length)).await.expect("alive");
    }
    server.stop().await;
}

#[tokio::test]
async fn one_goaway_is_heard_and_a_second_one_is_a_violation() {
    let server = Server::start(11);
    for version in [Version::Lite06, Version::Lite05, Version::Lite04] {
        let quic = ready(server.address, version).await;
        let (mut send, _) = bi(&quic, "050100").await;
        send.finish().expect("open");
        // It is only a wish: requests are answered as before.
        let (_probe, mut reply) = bi(&quic, "04").await;
        within("PROBE still answers", reply.read_exact(&mut [0])).await.expect("alive");
        let (mut send, _) = bi(&quic, "050100").await;
        send.finish().expect("open");
        assert_eq!(closed(&quic).await, (0x3, "second GOAWAY".into()), "{version}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stopping_listener_says_goaway_and_then_closes() {
    let server = Server::start(11);
    let (new, old) =
        (ready(server.address, Version::Lite06).await, ready(server.address, Version::Lite03).await);
    // The gateway's own requests for announcements.
    for quic in [&new, &old] {
        let (_send, mut request) = within("ANNOUNCE", quic.accept_bi()).await.expect("alive");
        expect(&mut request, "010100").await;
    }
    server.stop.cancel();
    let (_send, mut goaway) = within("GOAWAY", new.accept_bi()).await.expect("alive");
    assert_eq!(rest(&mut goaway).await, ("050100".into(), Ended::Fin));
    assert_eq!(closed(&new).await, (0x10, "going away".into()));
    assert_eq!(closed(&old).await, (0x10, "going away".into()));
    server.stop().await;
}

/// Lets nobody in but the holder of `good`, and only below `live`.
struct Doorman;

impl Admission for Doorman {
    fn admit<'a>(&'a self, request: &'a Request) -> AdmissionFuture<'a> {
        let good = matches!(&request.credential, Credential::Token(token) if token.expose() == "good");
        let denied = |reason, detail: &str| Err(Denied { reason, detail: detail.into() });
        if !good {
            return Box::pin(std::future::ready(denied(DenyReason::Unauthorized, "a token is needed")));
        }
        if !request.path.has_prefix(&path("live")) {
            return Box::pin(std::future::ready(denied(DenyReason::Forbidden, "not this path")));
        }
        OpenAdmission.admit(request)
    }
}

fn guarded() -> Server {
    let origin = Origin::new(OriginConfig { hop_id: 11, ..OriginConfig::default() });
    Server::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Gate::new(origin, Arc::new(Doorman)))
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why() {
    let server = guarded();
    let setup = |target: &str| {
        let path = target.len();
        format!("01 {:02x} 01 02 {path:02x} {}", path + 3, ascii(target))
    };
    for (target, reason) in [
        ("", "a token is needed"),
        ("/live?jwt=bad", "a token is needed"),
        ("/other?jwt=good", "not this path"),
    ] {
        let quic = connect(server.address, Version::Lite06).await;
        uni(&quic, &setup(target), true).await;
        assert_eq!(closed(&quic).await, (0x2, reason.into()), "{target}");
    }
    assert_eq!(server.count("sessions_denied"), 3);
    assert_eq!(server.count("sessions_opened"), 0);
    server.stop().await;
}

#[tokio::test]
async fn the_path_of_the_url_is_the_root_on_both_transports() {
    let server = guarded();
    let encoder = local(&server.gate, Protocol::Srt);
    let _seen = publish(&encoder, "live/studio/cam");
    let _unseen = publish(&encoder, "live/other");
    for scheme in ["https", "moqt"] {
        let url = format!("{}live/studio?jwt=good", server.url(scheme));
        let config = DialConfig { trust: Trust::Insecure, ..DialConfig::new(url.parse().expect("a URL")) };
        let client = Client::dial(config, gate(22));
        let viewer = local(&client.gate, Protocol::Webrtc);
        within("below the root", viewer.consumer().wait(&path("cam"))).await.expect("allowed");
        assert_eq!(client.gate.origin().broadcasts().len(), 1);
        let below = publish(&local(&client.gate, Protocol::Rtmp), "up");
        let watcher = local(&server.gate, Protocol::Webrtc);
        within("published below it", watcher.consumer().wait(&path("live/studio/up")))
            .await
            .expect("allowed");
        drop(below);
        client.stop().await;
    }
    server.stop().await;
}

/// Credit for a viewer is small; who turns out to publish, or to ask for much, is granted more at once.
#[tokio::test]
async fn busy_peers_get_the_streams_they_need() {
    const MANY: usize = 600;
    let server = Server::start(11);
    let quic = ready(server.address, Version::Lite06).await;
    let (mut groups, mut requests) = (Vec::new(), Vec::new());
    for i in 0..MANY {
        groups.push(within(&format!("group {i}"), quic.open_uni()).await.expect("alive"));
        say(groups.last_mut().expect("pushed"), "00").await;
        requests.push(bi(&quic, "010100").await);
    }
    let (_, reply) = requests.last_mut().expect("pushed");
    expect(reply, "020b00").await;
    server.stop().await;
}

#[tokio::test]
async fn noise_harms_nobody() {
    let server = Server::start(11);
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("binds");
    for length in [0usize, 1, 20, 1200, 1500] {
        let noise: Vec<u8> = (0..length).map(|i| (i * 31 + length) as u8 | 0xc0).collect();
        socket.send_to(&noise, server.address).await.expect("sent");
    }
    let quic = ready(server.address, Version::Lite06).await;
    for garbage in ["00", "ffffffffffffffffff", "0100", "02ff", "06c0", "0340400000"] {
        let (mut send, _reply) = bi(&quic, garbage).await;
        send.finish().expect("open");
    }
    uni(&quic, "00ffffffffffffffffff", true).await;
    quic.send_datagram(bytes::Bytes::from_static(&[0xff])).expect("sent");
    // Still there, for others and for the same one.
    let (_send, mut reply) = bi(&quic, "010100").await;
    expect(&mut reply, "020b00").await;
    let other = ready(server.address, Version::Lite05).await;
    let (_send, mut reply) = bi(&other, "01020000").await;
    expect(&mut reply, "020b00").await;
    server.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_one_clear_line() {
    let server = Server::start(11);
    let config = Config { listen: server.address, ..Config::default() };
    let error = Listener::bind(config, gate(1)).expect_err("taken");
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("cannot listen on udp {}: ", server.address)) && !text.contains('\n'),
        "{text}"
    );
    server.stop().await;
}
