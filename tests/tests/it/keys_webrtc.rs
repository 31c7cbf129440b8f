//! Stream keys over WHIP and WHEP: in every form, why one is refused, and what ends who is in.

use std::time::Duration;

use moqgate_tests::fixture::Fixture;
use moqgate_tests::http::{self, Response};
use moqgate_tests::keys::{Desk, Key};
use moqgate_tests::process::Process;
use moqgate_tests::{aiortc, media, tools, wait};
use serde_json::json;
use tempfile::TempDir;

const TOOLS: [&str; 4] = ["python3", "ffmpeg", tools::NEWER_FFMPEG, tools::AIORTC];
/// A bitrate is measured over 10 s.
const MEASURED: Duration = Duration::from_secs(60);
/// A connection comes up within as long, on a busy machine too.
const CONNECTED: Duration = Duration::from_secs(60);

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

fn bearer(key: &Key) -> String {
    format!("Bearer {}", key.secret)
}

/// RFC 7617.
fn basic(user: &str, password: &str) -> String {
    let text = format!("{user}:{password}");
    let digit = |value: u8| match value {
        0..26 => b'A' + value,
        26..52 => b'a' + value - 26,
        52..62 => b'0' + value - 52,
        62 => b'+',
        _ => b'/',
    };
    let digits = text.as_bytes().chunks(3).flat_map(|chunk| {
        let bytes = [chunk[0], chunk.get(1).copied().unwrap_or(0), chunk.get(2).copied().unwrap_or(0)];
        let bits = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        (0..=chunk.len()).map(move |at| char::from(digit((bits >> (18 - 6 * at) & 63) as u8)))
    });
    let text: String = digits.collect();
    format!("Basic {text}{}", "=".repeat((4 - text.len() % 4) % 4))
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
        ("/whip/live/cam0".to_owned(), basic("studio", &key.secret)),
        ("/whip/live/cam0".to_owned(), basic(&key.secret, "")),
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
    let spent = desk.key("live/**", "both", &json!({"minutes": 1}));
    desk.spend(&spent, 60);
    let used_up = "the minutes of the stream key are used up";
    wait::until_true("the minutes to be used up", wait::SOON, || {
        post(&desk, "/whip/live/cam0", &self::bearer(&spent)).status == 429
    });
    // In whatever form it is shown, what is wrong with it is told alike.
    for (key, status, sentence) in [
        (&expired, 401, "the stream key has expired"),
        (&revoked, 401, "the stream key was revoked"),
        (&spent, 429, used_up),
    ] {
        for target in ["/whip/live/cam0", "/whep/live/cam0"] {
            check_refused(&post(&desk, target, &self::bearer(key)), status, sentence);
            check_refused(&post(&desk, target, &basic("studio", &key.secret)), status, sentence);
            check_refused(&post(&desk, &format!("{target}?token={}", key.secret), ""), status, sentence);
        }
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

/// What players show, too: their offer is answered.
#[test]
fn players_are_admitted_in_every_form() {
    if !tools::require(&["ffmpeg"]) {
        return;
    }
    let mut desk = Desk::open(&[]);
    let source = desk.key("live/cam0", "publish", &json!({}));
    let player = desk.key("live/**", "play", &json!({}));
    let url = desk.gateway.rtmp_url(&format!("live/cam0?key={}", source.secret));
    let _encoder = media::push_forever_rtmp(&Fixture::load("plain").file(), &url);
    desk.gateway.wait_live("live/cam0");
    for (query, authorization) in [
        (String::new(), bearer(&player)),
        (String::new(), basic("viewer", &player.secret)),
        (String::new(), basic(&player.secret, "")),
        (format!("?token={}", player.secret), String::new()),
    ] {
        let answer = post(&desk, &format!("/whep/live/cam0{query}"), &authorization);
        assert_eq!(answer.status, 201, "{query} {authorization}: {}", answer.text());
    }
}

/// A publisher and a viewer with one key each, live.
struct Pair {
    path: String,
    key: Key,
    publisher: Process,
    viewer: Option<Process>,
    _folder: TempDir,
}

/// Both with the same key. Who is limited by bitrate only publishes.
fn pair(desk: &mut Desk, name: &str, wish: &serde_json::Value, watches: bool) -> Pair {
    let (path, folder) = (format!("live/{name}"), tempfile::tempdir().expect("a folder"));
    let key = desk.key("live/**", "both", wish);
    let url = |kind: &str, path: &str| format!("http://{}/{kind}/{path}", desk.gateway.http());
    let publisher =
        media::push_forever_whip(&Fixture::load("plain").file(), &url("whip", &path), &key.secret);
    let book = folder.path().join("book");
    let viewer = watches.then(|| aiortc::record(&url("whep", "live/source"), &key.secret, &book));
    Pair { path, key, publisher, viewer, _folder: folder }
}

impl Pair {
    fn wait_live(&self, desk: &Desk) {
        wait::until_true(&format!("{} to be live", self.path), CONNECTED, || {
            let entry = desk.gateway.broadcast(&self.path);
            entry.is_some_and(|entry| entry["tracks"].as_array().is_some_and(|tracks| !tracks.is_empty()))
        });
        if let Some(viewer) = &self.viewer {
            wait::until_true("a viewer", CONNECTED, || viewer.log().find("connected").is_some());
        }
    }

    /// Both are ended, the log says why, and so does the answer to whoever comes again.
    fn check_ended(&mut self, desk: &Desk, reason: &str, sentence: &str, again: (u16, &str)) {
        let ended = || desk.gateway.ended("webrtc", reason);
        let wanted = 1 + u64::from(self.viewer.is_some());
        wait::until_true(&format!("the end of {}", self.path), MEASURED, || ended() >= wanted);
        desk.gateway.wait_gone(&self.path);
        let why = format!("path={} reason={sentence}", self.path);
        assert!(desk.gateway.log().find(&why).is_some(), "the log does not say {why}");
        if let Some(viewer) = &mut self.viewer {
            assert!(viewer.wait(wait::SOON).success(), "its connection was closed");
        }
        // The encoder is not told in words: it ends, or it goes on until it notices.
        self.publisher.kill();
        let target = format!("/whip/{}", self.path);
        let answer = post(desk, &target, &bearer(&self.key));
        match again {
            (201, _) => assert_eq!(answer.status, 201, "{}", answer.text()),
            (status, sentence) => check_refused(&answer, status, sentence),
        }
    }
}

#[test]
fn live_sessions_end_with_their_key() {
    if !tools::require(&TOOLS) {
        return;
    }
    let mut desk = Desk::open(&[]);
    let source = desk.key("live/source", "publish", &json!({}));
    let url = desk.gateway.rtmp_url(&format!("live/source?key={}", source.secret));
    let _encoder = media::push_forever_rtmp(&Fixture::load("plain").file(), &url);
    desk.gateway.wait_live("live/source");
    let mut revoked = pair(&mut desk, "revoked", &json!({}), true);
    let mut expired = pair(&mut desk, "expired", &json!({}), true);
    let mut spent = pair(&mut desk, "spent", &json!({"minutes": 10}), true);
    let mut fast = pair(&mut desk, "fast", &json!({"bitrate": 20_000}), false);
    for pair in [&revoked, &expired, &spent] {
        pair.wait_live(&desk);
    }
    desk.revoke(&revoked.key);
    desk.change(&expired.key, &json!({"expires": "2020-01-01"}));
    desk.spend(&spent.key, 600);
    let told = (401, "the stream key was revoked");
    revoked.check_ended(&desk, "revoked", "the credential was revoked", told);
    let told = (401, "the stream key has expired");
    expired.check_ended(&desk, "expired", "the credential has expired", told);
    let told = (429, "the minutes of the stream key are used up");
    spent.check_ended(&desk, "minutes", "the minutes of the credential are used up", told);
    // Who published too much may try again with less.
    let told = (201, "");
    fast.check_ended(&desk, "bitrate", "the bitrate is above the limit of the credential", told);
    assert!(desk.gateway.broadcast("live/source").is_some(), "whom they watched goes on");
}
