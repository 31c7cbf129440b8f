//! WebTransport, byte by byte: an HTTP/3 peer that the test scripts.

use std::net::SocketAddr;

use moqgate_core::Protocol;
use moqgate_moq::wire::Version;
use quinn::{Connection, RecvStream, SendStream};
use web_transport_proto::{ConnectRequest, ConnectResponse, Settings, error_to_http3};

use crate::peer::client_config_for;
use crate::rig::*;
use crate::script::*;

/// Control stream and SETTINGS: extended CONNECT, datagrams, and every generation of WebTransport.
const SETTINGS: &str = "000420010007000801330180ffd27701ab60374201ab60374301c0000000c671706a01";
/// What Chromium sends: no extended CONNECT, one old generation, a dynamic table that we must not use.
const CHROMIUM: &str = "00042901800100000680004000074064330180ffd27701ab60374201c000000c5cfe5934c00000008f7f9881c0000018927ffb7100";

/// A connection with HTTP/3 and nothing said on it.
async fn http3(address: SocketAddr) -> Connection {
    let endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("binds");
    let connecting = endpoint.connect_with(client_config_for("h3"), address, "localhost").expect("valid");
    within("handshake", connecting).await.expect("connects")
}

struct Web {
    quic: Connection,
    connect: (SendStream, RecvStream),
    /// Dropped, it would close a critical stream.
    _control: SendStream,
    selected: Option<String>,
}

async fn open(address: SocketAddr, settings: &str, path: &str, offered: &[&str]) -> Web {
    let quic = http3(address).await;
    let control = uni(&quic, settings, false).await;
    let url = format!("https://localhost{path}").parse::<url::Url>().expect("a URL");
    let request = ConnectRequest::new(url).with_protocols(offered.iter().map(|token| (*token).to_owned()));
    let (mut send, mut recv) = quic.open_bi().await.expect("alive");
    request.write(&mut send).await.expect("written");
    let response = within("answer to CONNECT", ConnectResponse::read(&mut recv)).await.expect("an answer");
    assert_eq!(response.status.as_u16(), 200);
    let mut theirs = within("control stream", quic.accept_uni()).await.expect("alive");
    let theirs = within("SETTINGS", Settings::read(&mut theirs)).await.expect("SETTINGS");
    assert_eq!(theirs.supports_webtransport(), 1);
    Web { quic, connect: (send, recv), _control: control, selected: response.protocol }
}

#[tokio::test]
async fn the_clients_first_choice_that_we_have_is_selected() {
    let server = Server::start(11);
    for (offered, selected) in [
        (&["moq-lite-04", "moq-lite-06"][..], "moq-lite-04"),
        (&["moql", "moq-lite-06-wip", "moq-lite-05", "moq-lite-04"], "moq-lite-05"),
    ] {
        let web = open(server.address, SETTINGS, "/", offered).await;
        assert_eq!(web.selected.as_deref(), Some(selected));
    }
    // Without SETUP there is no waiting: the gateway asks at once, under the prefix of session 0.
    let web = open(server.address, SETTINGS, "/", &["moq-lite-04"]).await;
    let (_send, mut asked) = within("ANNOUNCE", web.quic.accept_bi()).await.expect("alive");
    expect(&mut asked, "404100 01 02 00 0b").await;
    server.stop().await;
}

#[tokio::test]
async fn nothing_in_common_is_said_as_such() {
    let server = Server::start(11);
    for offered in [&["foo"][..], &[]] {
        let mut web = open(server.address, SETTINGS, "/", offered).await;
        assert_eq!(web.selected, None);
        // A DATA frame with the capsule: code 0x15, reason.
        let reason = "no common version";
        let capsule = format!("00 18 6843 15 00000015 {}", ascii(reason));
        assert_eq!(rest(&mut web.connect.1).await, (capsule.replace(' ', ""), Ended::Fin));
        assert_eq!(closed(&web.quic).await.0, error_to_http3(0x15));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_browser_is_served_and_what_comes_before_connect_is_kept() {
    let server = Server::start(11);
    let encoder = local(&server.gate, Protocol::Srt);
    let broadcast = publish(&encoder, "live/cam");
    let video = track(&broadcast, "v");
    push_group(&video, &[frame(1000, "hi")]);

    let quic = http3(server.address).await;
    let _control = uni(&quic, CHROMIUM, false).await;
    // QPACK's encoder and decoder streams, then SETUP, before there is a session.
    let _qpack = [uni(&quic, "02", false).await, uni(&quic, "03", false).await];
    uni(&quic, "405400 010100", true).await;
    let url = "https://localhost/live".parse::<url::Url>().expect("a URL");
    let request = ConnectRequest::new(url).with_protocols(["moq-lite-05".to_owned()]);
    let (mut send, mut recv) = quic.open_bi().await.expect("alive");
    request.write(&mut send).await.expect("written");
    let response = within("answer to CONNECT", ConnectResponse::read(&mut recv)).await.expect("an answer");
    assert_eq!(response.protocol.as_deref(), Some("moq-lite-05"));
    let _their_control = within("control stream", quic.accept_uni()).await.expect("alive");
    assert_eq!(
        next_uni(&quic).await,
        ("405400 010d 03 010101 05010b 9d7665770101".replace(' ', ""), Ended::Fin)
    );

    let subscribe = format!("404100 02 0c 00 03{} 01{} 3c 00 00 00 00", ascii("cam"), ascii("v"));
    let (_request, mut reply) = bi(&quic, &subscribe).await;
    expect(&mut reply, "000100").await;
    let group = "405400 00 02 0000 47d0 02 6869".replace(' ', "");
    assert_eq!(next_uni(&quic).await, (group, Ended::Fin));
    let (_track, mut refused) = bi(&quic, &format!("404100 06 06 03{} 01 7a", ascii("cam"))).await;
    assert_eq!(rest(&mut refused).await, (String::new(), Ended::Reset(0x33)));

    // The peer closes with a capsule, and the session is gone.
    say(&mut send, &format!("00 0a 6843 07 00000000 {}", ascii("bye"))).await;
    send.finish().expect("open");
    eventually("closed", || server.count("sessions_closed") == 1).await;
    server.stop().await;
}

#[tokio::test]
async fn other_http_is_no_session() {
    let server = Server::start(11);
    for (control, request) in [
        // SETTINGS that enable nothing; garbage; a second control stream is not reached.
        ("000400", ""),
        ("0004022ffe", ""),
        ("00ffffffffffffffffff", ""),
        // HEADERS that are no CONNECT: GET of the static table; a frame that is none; a field section too long.
        (SETTINGS, "01 06 0000 d1 d7 c1 50"),
        (SETTINGS, "21 00 ff"),
        (SETTINGS, "01 80ffffff"),
    ] {
        let quic = http3(server.address).await;
        let _control = uni(&quic, control, true).await;
        if !request.is_empty() {
            let (mut send, _recv) = bi(&quic, request).await;
            send.finish().expect("open");
        }
        within("end", quic.closed()).await;
    }
    eventually("counted", || server.count("handshakes_failed") == 6).await;
    assert_eq!(server.count("sessions_opened"), 0);
    let _still = ready(server.address, Version::Lite06).await;
    server.stop().await;
}
