//! WHIP and WHEP as clients speak them (RFC 9725).

use axum::http::StatusCode;
use moqgate_core::Secret;
use moqgate_webrtc::{Config, IceServer};

use crate::rig::{OFFER, Rig};

const SDP: (&str, &str) = ("content-type", "application/sdp");
const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");
const RESTART: &str = "a=ice-ufrag:n3w1\r\na=ice-pwd:zyxwvutsrqponmlkjihgfedc\r\n";

#[tokio::test]
async fn an_offer_is_answered() {
    let rig = Rig::start(Config::default());
    let answer = rig.publish("live/cam0", OFFER).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/sdp");
    assert!(answer.header("location").starts_with("/webrtc/"));
    assert!(answer.header("etag").starts_with('"'));
    assert_eq!(answer.header("accept-patch"), "application/trickle-ice-sdpfrag");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let port = rig.port.port();
    let candidates: Vec<_> =
        answer.body.lines().filter(|line| line.starts_with("a=candidate")).map(str::to_owned).collect();
    assert_eq!(candidates.len(), 2, "{}", answer.body);
    assert!(candidates[0].contains(" udp ") && candidates[0].contains(&format!("127.0.0.1 {port} typ host")));
    assert!(candidates[1].contains(" tcp ") && candidates[1].ends_with("tcptype passive"));
    for line in
        ["a=ice-lite", "a=recvonly", "a=rtpmap:102 H264/90000", "a=rtcp-fb:102 nack pli", "a=rtcp-mux"]
    {
        assert!(answer.body.contains(line), "{line}: {}", answer.body);
    }
    assert!(answer.body.contains("a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n"), "{}", answer.body);
    assert!(rig.is_live("live/cam0"));
    let gone = rig.send("DELETE", answer.header("location"), &[], "").await;
    assert_eq!(gone.status, StatusCode::OK);
    while rig.is_live("live/cam0") {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.send("DELETE", answer.header("location"), &[], "").await.status, StatusCode::NOT_FOUND);
    rig.stop().await;
}

/// Content types with parameters, clients that do not trickle and clients that trickle without a condition.
#[tokio::test]
async fn line_61_clients_take_liberties() {
    let rig = Rig::start(Config::default());
    let parameters = [("content-type", "application/sdp; charset=utf-8")];
    let answer = rig.send("POST", "/whip/a", &parameters, OFFER).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let url = answer.header("location");
    let candidate = "a=ice-ufrag:cl1e\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n\
                     a=mid:0\r\na=candidate:1 1 udp 2130706431 1ca8.local 50000 typ host\r\n";
    assert_eq!(rig.send("PATCH", url, &[FRAGMENT], candidate).await.status, StatusCode::NO_CONTENT);
    let tag = answer.header("etag");
    let matched = [FRAGMENT, ("if-match", tag)];
    assert_eq!(rig.send("PATCH", url, &matched, candidate).await.status, StatusCode::NO_CONTENT);
    rig.stop().await;
}

#[tokio::test]
async fn ice_restarts_under_a_condition() {
    let rig = Rig::start(Config::default());
    let answer = rig.publish("a", OFFER).await;
    let (url, tag) = (answer.header("location"), answer.header("etag"));
    let patch = |headers| rig.send("PATCH", url, headers, RESTART);
    assert_eq!(patch(&[FRAGMENT]).await.status, StatusCode::PRECONDITION_REQUIRED);
    let stale = [FRAGMENT, ("if-match", "\"stale\"")];
    assert_eq!(patch(&stale).await.status, StatusCode::PRECONDITION_FAILED);
    let restarted = patch(&[FRAGMENT, ("if-match", "*")]).await;
    assert_eq!(restarted.status, StatusCode::OK, "{}", restarted.body);
    assert_eq!(restarted.header("content-type"), "application/trickle-ice-sdpfrag");
    assert_ne!(restarted.header("etag"), tag);
    for line in ["a=ice-ufrag:", "a=ice-pwd:", "a=candidate:"] {
        assert!(restarted.body.contains(line), "{line}: {}", restarted.body);
    }
    let old = [FRAGMENT, ("if-match", tag)];
    assert_eq!(patch(&old).await.status, StatusCode::PRECONDITION_FAILED);
    rig.stop().await;
}

#[tokio::test]
async fn refusals_are_problems_that_say_why() {
    let rig = Rig::start(Config { play_wait: std::time::Duration::ZERO, ..Config::default() });
    let data = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";
    let receiving = OFFER.replace("a=sendonly", "a=recvonly");
    let long = OFFER.repeat(40);
    assert_eq!(rig.publish("taken", OFFER).await.status, StatusCode::CREATED);
    for (method, uri, headers, body, status) in [
        ("POST", "/whip/a", &[("content-type", "text/plain")][..], OFFER, 415),
        ("POST", "/whip/a", &[], OFFER, 415),
        ("POST", "/whip/a", &[SDP], "hello", 400),
        ("POST", "/whip/a", &[SDP], data, 406),
        ("POST", "/whip/a", &[SDP], &receiving, 406),
        ("POST", "/whip/a", &[SDP], &long, 413),
        ("POST", "/whip/taken", &[SDP], OFFER, 409),
        ("POST", "/whep/nobody", &[SDP], &receiving, 404),
        ("POST", "/whip/a", &[SDP, ("authorization", "Digest x")], OFFER, 401),
        ("PUT", "/whip/a", &[SDP], OFFER, 405),
        ("GET", "/webrtc/unknown", &[], "", 405),
        ("PATCH", "/webrtc/unknown", &[FRAGMENT], "", 404),
    ] {
        let answer = rig.send(method, uri, headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {uri} {headers:?}: {}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(answer.body.contains(&format!("\"status\":{status}")), "{}", answer.body);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_preflight_names_what_may_be_sent_and_the_servers() {
    let servers = vec![
        IceServer { url: "stun:stun.example.net".into(), username: None, credential: None },
        IceServer {
            url: "turn:turn.example.net".into(),
            username: Some("me".into()),
            credential: Some(Secret::new("secret")),
        },
    ];
    let rig = Rig::start(Config { ice_servers: servers, ..Config::default() });
    let answer = rig.send("OPTIONS", "/whep/a", &[("access-control-request-method", "POST")], "").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(answer.header("accept-post"), "application/sdp");
    assert!(answer.header("access-control-allow-methods").contains("PATCH"));
    assert!(answer.header("access-control-allow-headers").contains("Authorization"));
    let links: Vec<_> = answer.headers.get_all("link").iter().filter_map(|link| link.to_str().ok()).collect();
    assert_eq!(links.len(), 2);
    assert!(links[1].contains("username=\"me\"; credential=\"secret\""));
    rig.stop().await;
}

#[tokio::test]
async fn another_credential_cannot_end_a_session() {
    let rig = Rig::start(Config::default());
    let opened = rig.send("POST", "/whip/a", &[SDP, ("authorization", "Bearer mine")], OFFER).await;
    let url = opened.header("location");
    let delete = |token| rig.send("DELETE", url, token, "");
    assert_eq!(delete(&[("authorization", "Bearer other")]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(delete(&[("authorization", "Bearer mine")]).await.status, StatusCode::OK);
    rig.stop().await;
}

#[tokio::test]
async fn outside_addresses_come_first() {
    let rig = Rig::start(Config { hosts: vec![[198, 51, 100, 7].into()], ..Config::default() });
    let answer = rig.publish("a", OFFER).await;
    let first = answer.body.lines().find(|line| line.starts_with("a=candidate")).unwrap_or_default();
    assert!(first.contains(&format!(" 198.51.100.7 {} typ host", rig.port.port())), "{}", answer.body);
    rig.stop().await;
}
