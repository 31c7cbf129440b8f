//! Sessions that go on until they may not, and what their peers are told then.

use std::time::{Duration, SystemTime};

use moqgate_tests::fixture::Fixture;
use moqgate_tests::keys::{Desk, Key};
use moqgate_tests::libsrt::{self, Caller};
use moqgate_tests::process::Process;
use moqgate_tests::{aiortc, http, media, peers, tools, wait};
use serde_json::{Value, json};

use crate::WHOLE;

const TOOLS: [&str; 3] = ["python3", "ffmpeg", "moq"];
/// A bitrate is measured over 10 s.
const MEASURED: Duration = Duration::from_secs(60);

/// A publisher over each protocol, live, each on a path of its own.
struct Publishers {
    srt: Process,
    rtmp: Process,
    moq: Process,
}

fn publish(desk: &Desk, key: &Key) -> Publishers {
    let (clip, secret) = (Fixture::load("bframes").file(), &key.secret);
    let srt = media::srt_url_with(desk.gateway.srt(), &format!("#!::r=live/srt,m=publish,t={secret}"), "");
    let moq = format!("{}?jwt={secret}", desk.gateway.moq_url());
    let publishers = Publishers {
        srt: media::push_forever(&clip, &srt),
        rtmp: media::push_forever_rtmp(&clip, &desk.gateway.rtmp_url(&format!("live/rtmp?key={secret}"))),
        // Slowly, so that it is still there when it is ended.
        moq: peers::import_ts(&moq, "live/moq", &clip, 0.25),
    };
    for path in ["live/srt", "live/rtmp", "live/moq"] {
        desk.gateway.wait_listed(path);
    }
    publishers
}

/// Every publisher is ended, and told as far as its protocol can tell.
fn check_told(desk: &Desk, mut publishers: Publishers, limit: Duration, sentence: &str) {
    let told = format!("Server error: {sentence}");
    wait::until_true("RTMP to be told why", limit, || publishers.rtmp.log().find(&told).is_some());
    assert!(!publishers.rtmp.wait(wait::SOON).success());
    let _ = publishers.moq.log().wait("unauthorized");
    assert!(!publishers.srt.wait(wait::SOON).success(), "SRT can only be hung up");
    for path in ["live/srt", "live/rtmp", "live/moq"] {
        desk.gateway.wait_gone(path);
        let why = format!("path={path} reason={sentence}");
        // A MoQ session has a root and no path.
        let found = desk.gateway.log().lines().into_iter().any(|line| line.contains(&why));
        assert!(found || path == "live/moq", "the log does not say {why}");
    }
}

#[test]
fn a_revoked_key_ends_its_sessions() {
    if !tools::require(&TOOLS) {
        return;
    }
    let mut desk = Desk::open(&[]);
    let key = desk.key("live/*", "publish", &json!({}));
    let publishers = publish(&desk, &key);
    desk.revoke(&key);
    check_told(&desk, publishers, wait::SOON, "the credential was revoked");
    for protocol in ["srt", "rtmp", "moq"] {
        assert_eq!(desk.gateway.ended(protocol, "revoked"), 1, "{protocol}");
    }
}

#[test]
fn used_up_minutes_end_its_sessions() {
    if !tools::require(&TOOLS) {
        return;
    }
    let mut desk = Desk::open(&[]);
    let key = desk.key("live/*", "publish", &json!({"minutes": 10}));
    let publishers = publish(&desk, &key);
    desk.spend(&key, 600);
    check_told(&desk, publishers, wait::SOON, "the minutes of the credential are used up");
    for protocol in ["srt", "rtmp", "moq"] {
        assert_eq!(desk.gateway.ended(protocol, "minutes"), 1, "{protocol}");
    }
}

/// Players of each protocol that watch with one key.
struct Players {
    srt: Process,
    rtmp: Process,
    moq: Process,
    webrtc: Process,
    _folder: tempfile::TempDir,
}

/// What a player's key can run into while it is used; over every protocol.
#[test]
fn players_are_ended_with_their_key() {
    if !tools::require(&[TOOLS[0], TOOLS[1], TOOLS[2], tools::AIORTC]) {
        return;
    }
    let mut desk = Desk::open(&[]);
    let source = desk.key("live/cam0", "publish", &json!({}));
    let url = desk.gateway.rtmp_url(&format!("live/cam0?key={}", source.secret));
    let _encoder = media::push_forever_rtmp(&Fixture::load("plain").file(), &url);
    desk.gateway.wait_live("live/cam0");
    let key = desk.key("live/cam0", "play", &json!({"minutes": 10}));
    let mut players = play(&desk, &key);
    desk.spend(&key, 600);
    let told = "Server error: the minutes of the credential are used up";
    wait::until_true("RTMP to be told why", wait::SOON, || players.rtmp.log().find(told).is_some());
    let _ = players.moq.log().wait("unauthorized");
    assert!(players.webrtc.wait(wait::SOON).success(), "its connection was closed");
    wait::until_true("SRT to be hung up", wait::SOON, || !players.srt.is_running());
    for protocol in ["srt", "rtmp", "moq", "webrtc"] {
        assert_eq!(desk.gateway.ended(protocol, "minutes"), 1, "{protocol}");
    }
    assert!(desk.gateway.broadcast("live/cam0").is_some(), "whom they watched goes on");
}

fn play(desk: &Desk, key: &Key) -> Players {
    let (folder, secret) = (tempfile::tempdir().expect("a folder"), &key.secret);
    let srt = format!("srt://{}?streamid=#!::r=live/cam0,m=request,t={secret}", desk.gateway.srt());
    let moq = format!("{}?jwt={secret}", desk.gateway.moq_url());
    let whep = format!("http://{}/whep/live/cam0", desk.gateway.http());
    let players = Players {
        srt: media::play(&srt),
        rtmp: media::play(&desk.gateway.rtmp_url(&format!("live/cam0?key={secret}"))),
        moq: peers::export_ts(&moq, "live/cam0", &folder.path().join("copy.ts"), WHOLE),
        webrtc: aiortc::record(&whep, secret, &folder.path().join("book")),
        _folder: folder,
    };
    let _ = players.webrtc.log().wait("connected");
    wait::until_true("four viewers", wait::SOON, || {
        desk.gateway.broadcast("live/cam0").is_some_and(|entry| entry["viewers"] == 4)
    });
    players
}

#[test]
fn an_expired_key_ends_its_sessions() {
    if !tools::require(&TOOLS) {
        return;
    }
    let mut desk = Desk::open(&[]);
    let key = desk.key("live/*", "publish", &json!({}));
    let publishers = publish(&desk, &key);
    desk.change(&key, &json!({"expires": rfc3339(SystemTime::now() - Duration::from_secs(1))}));
    check_told(&desk, publishers, wait::SOON, "the credential has expired");
}

#[test]
fn too_much_per_second_ends_a_session() {
    if !tools::require(&TOOLS) {
        return;
    }
    let mut desk = Desk::open(&[]);
    let key = desk.key("live/*", "both", &json!({"bitrate": 50_000}));
    let publishers = publish(&desk, &key);
    // What nobody watches is not sent over MoQ, so that it counts for nothing.
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("{}?jwt={}", desk.gateway.moq_url(), key.secret);
    let _viewer = peers::export_ts(&url, "live/moq", &folder.path().join("copy.ts"), WHOLE);
    check_told(&desk, publishers, MEASURED, "the bitrate is above the limit of the credential");
    assert_eq!(desk.gateway.ended("rtmp", "bitrate"), 1);
}

#[test]
fn one_viewer_too_many_is_refused() {
    if !tools::require(&TOOLS) {
        return;
    }
    let mut desk = Desk::open(&[]);
    let publisher = desk.key("live/cam0", "publish", &json!({"viewers": 1}));
    let many = desk.key("live/**", "play", &json!({}));
    let clip = Fixture::load("bframes").file();
    let url = desk.gateway.rtmp_url(&format!("live/cam0?key={}", publisher.secret));
    let _encoder = media::push_forever_rtmp(&clip, &url);
    desk.gateway.wait_live("live/cam0");
    let play = desk.gateway.rtmp_url(&format!("live/cam0?key={}", many.secret));
    let mut first = media::play(&play);
    wait::until_true("one viewer", wait::SOON, || {
        desk.gateway.broadcast("live/cam0").is_some_and(|entry| entry["viewers"] == 1)
    });
    let second = media::play(&play);
    let _ = second.log().wait("Server error: as many watch as the credential allows");
    let streamid = format!("#!::r=live/cam0,m=request,t={}", many.secret);
    let call = libsrt::call(desk.gateway.srt(), Caller { streamid: &streamid, ..Caller::default() });
    assert_eq!(call.reason, 1402, "{call:?}");
    // MoQ asks for broadcasts when it is in: it is ended then.
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("{}?jwt={}", desk.gateway.moq_url(), many.secret);
    let copy = folder.path().join("copy.ts");
    let third = peers::export_ts(&url, "live/cam0", &copy, Duration::ZERO);
    let _ = third.log().wait("unauthorized");
    wait::until_true("one viewer too many", wait::SOON, || desk.gateway.ended("moq", "viewers") > 0);
    assert!(first.is_running(), "who was first stays");
}

#[test]
fn who_is_sent_away_stays_away() {
    if !tools::require(&TOOLS) {
        return;
    }
    let mut desk = Desk::open(&["--kick-time", "1h"]);
    let key = desk.key("live/*", "publish", &json!({}));
    let publishers = publish(&desk, &key);
    for protocol in ["srt", "rtmp", "moq"] {
        let id = desk.gateway.sessions(protocol)[0]["id"].as_str().expect("an id").to_owned();
        desk.api("DELETE", &format!("/api/v1/sessions/{id}"), None, 204);
    }
    let _ = publishers.rtmp.log().wait("Server error: ended by the operator");
    let _ = publishers.moq.log().wait("unauthorized");
    assert_eq!(desk.gateway.ended("rtmp", "operator"), 1);
    let clip = Fixture::load("bframes").file();
    let again =
        media::push_forever_rtmp(&clip, &desk.gateway.rtmp_url(&format!("live/srt?key={}", key.secret)));
    let _ = again.log().wait("Server error: ended by the operator; try again in 3");
    let streamid = format!("#!::r=live/rtmp,m=publish,t={}", key.secret);
    let call = libsrt::call(desk.gateway.srt(), Caller { streamid: &streamid, ..Caller::default() });
    assert_eq!(call.reason, 1403, "{call:?}");
    let other = desk.key("live/*", "publish", &json!({}));
    let streamid = format!("#!::r=live/rtmp,m=publish,t={}", other.secret);
    let call = libsrt::call(desk.gateway.srt(), Caller { streamid: &streamid, ..Caller::default() });
    assert!(call.connected, "it was one credential that was sent away: {call:?}");
}

#[test]
fn guessing_is_slowed_down_and_nobody_else_is() {
    if !tools::require(&TOOLS) {
        return;
    }
    let mut desk = Desk::open(&[]);
    let key = desk.key("live/cam0", "publish", &json!({}));
    let call = |shown: &str| {
        let streamid = format!("#!::r=live/cam0,m=publish,t={shown}");
        libsrt::call(desk.gateway.srt(), Caller { streamid: &streamid, ..Caller::default() })
    };
    for _ in 0..15 {
        assert_eq!(call("typing error").reason, 1401);
    }
    assert!(call(&key.secret).connected, "one typing error locks nobody out");
    let reasons: Vec<_> = (0..12).map(|guess| call(&format!("guess {guess}")).reason).collect();
    assert_eq!(reasons[11], 1402, "{reasons:?}");
    assert_eq!(call(&key.secret).reason, 1402, "not even the right one is told from here");
}

#[test]
fn what_changes_something_needs_the_admin_token() {
    let token = "correct horse battery";
    let mut desk = Desk::open(&["--admin-token", token]);
    desk.keep_secret(token);
    let wish = json!({"paths": ["a"], "direction": "publish"});
    let to = desk.gateway.http();
    for (method, path) in [
        ("GET", "/api/v1/keys"),
        ("POST", "/api/v1/keys"),
        ("PATCH", "/api/v1/keys/x"),
        ("DELETE", "/api/v1/keys/x"),
        ("POST", "/api/v1/keys/x/rotate"),
        ("DELETE", "/api/v1/sessions/x"),
    ] {
        let answer = http::request(to, method, path, Some(&wish)).expect("an answer");
        assert_eq!(answer.status, 401, "{method} {path}");
        assert!(answer.headers.contains("www-authenticate: bearer"), "{}", answer.headers);
        assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("admin token")));
        let wrong = http::request_with(to, method, path, "authorization: Bearer wrong\r\n", Some(&wish));
        assert_eq!(wrong.expect("an answer").status, 401, "{method} {path}");
    }
    let bearer = format!("authorization: Bearer {token}\r\n");
    let made = http::request_with(to, "POST", "/api/v1/keys", &bearer, Some(&wish)).expect("an answer");
    assert_eq!(made.status, 201, "{}", made.text());
    assert!(made.headers.contains("cache-control: no-store"));
    let (id, secret) = (made.json()["id"].clone(), made.json()["secret"].clone());
    desk.keep_secret(secret.as_str().expect("it is shown once"));
    let list = http::request_with(to, "GET", "/api/v1/keys", &bearer, None).expect("an answer");
    assert!(list.text().contains(id.as_str().expect("an id")));
    assert!(!list.text().contains(secret.as_str().expect("a secret")), "and never again");
    let gone = http::request_with(to, "DELETE", "/api/v1/sessions/none", &bearer, None).expect("an answer");
    assert_eq!(gone.status, 404);
    let unread: Value = desk.gateway.api("/api/v1/sessions");
    assert!(unread["sessions"].is_array(), "reading is open");
}

fn rfc3339(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let mut command = std::process::Command::new("date");
    let output = command.args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"]).output();
    String::from_utf8_lossy(&output.expect("date runs").stdout).trim().to_owned()
}
