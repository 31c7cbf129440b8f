//! Stream keys over WHIP and WHEP: in every form, and why one is refused.

use moqgate_tests::fixture::Fixture;
use moqgate_tests::http::{self, Response};
use moqgate_tests::keys::Desk;
use moqgate_tests::{media, tools, wait};
use serde_json::json;

/// An offer of one sound, as a browser makes it (RFC 8829), cut down.
fn offer(direction: &str) -> String {
    let fingerprint = ["AB"; 32].join(":");
    format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=ice-ufrag:abcd\r\n\
         a=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na={direction}\r\na=rtcp-mux\r\n\
         a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n"
    )
}

fn post(desk: &Desk, target: &str, authorization: &str) -> Response {
    let direction = if target.starts_with("/whip") { "sendonly" } else { "recvonly" };
    let headers = match authorization {
        "" => String::new(),
        value => format!("authorization: {value}\r\n"),
    };
    let answer = http::post(desk.gateway.http(), target, &headers, "application/sdp", &offer(direction));
    answer.unwrap_or_else(|| panic!("no answer to POST {target}"))
}

fn check_refused(answer: &Response, status: u16, sentence: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.json()["detail"], sentence);
    assert_eq!(answer.headers.contains("www-authenticate: bearer"), status == 401);
}

#[test]
fn every_form_is_admitted() {
    let mut desk = Desk::open(&[]);
    let key = desk.key("live/cam0", "publish", &json!({}));
    // The same user may come back to its own path at once, so that each attempt takes over from the one before.
    for (target, authorization) in [
        ("/whip/live/cam0".to_owned(), format!("Bearer {}", key.secret)),
        (format!("/whip/live/cam0?token={}", key.secret), String::new()),
        (format!("/whip/live/{}", key.secret), String::new()),
    ] {
        let answer = post(&desk, &target, &authorization);
        assert_eq!(answer.status, 201, "{}", answer.text());
        wait::until_true("the session", wait::SOON, || {
            let sessions = desk.gateway.sessions("webrtc");
            sessions.iter().any(|session| session["path"] == "live/cam0")
        });
    }
}

#[test]
fn a_refusal_is_a_problem_document() {
    if !tools::require(&["ffmpeg"]) {
        return;
    }
    let mut desk = Desk::open(&[]);
    let key = desk.key("live/cam0", "publish", &json!({"viewers": 1}));
    let player = desk.key("live/**", "play", &json!({}));
    let expired = desk.key("live/**", "both", &json!({"expires": "2020-01-01"}));
    let revoked = desk.key("live/**", "both", &json!({}));
    desk.revoke(&revoked);
    let bearer = |secret: &str| format!("Bearer {secret}");
    for (target, authorization, status, sentence) in [
        ("/whip/live/cam0", String::new(), 401, "a stream key or a token is needed"),
        ("/whip/live/cam0", bearer("nobody's"), 401, "the stream key or token is not known"),
        ("/whip/live/cam0", bearer(&expired.secret), 401, "the stream key has expired"),
        ("/whep/live/cam0", bearer(&revoked.secret), 401, "the stream key was revoked"),
        ("/whip/live/cam1", bearer(&key.secret), 403, "the credential may not publish live/cam1"),
        ("/whip/live/cam0", bearer(&player.secret), 403, "the credential may not publish"),
        ("/whep/live/cam0", bearer(&key.secret), 403, "the credential may not play"),
    ] {
        check_refused(&post(&desk, target, &authorization), status, sentence);
    }
    let url = desk.gateway.rtmp_url(&format!("live/cam0?key={}", key.secret));
    let _encoder = media::push_forever_rtmp(&Fixture::load("bframes").file(), &url);
    desk.gateway.wait_live("live/cam0");
    let _viewer = media::play(&desk.gateway.rtmp_url(&format!("live/cam0?key={}", player.secret)));
    wait::until_true("one viewer", wait::SOON, || {
        desk.gateway.broadcast("live/cam0").is_some_and(|entry| entry["viewers"] == 1)
    });
    let full = post(&desk, "/whep/live/cam0", &bearer(&player.secret));
    check_refused(&full, 429, "as many watch as the credential allows");
}
