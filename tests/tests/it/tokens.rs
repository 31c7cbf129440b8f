//! Tokens of the released `moq auth`: one admits here, over every protocol, and to a released relay.

use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::libsrt::{self, Caller};
use moqgate_tests::peers::{self, AuthServer, Relay};
use moqgate_tests::{media, tools, wait};

use crate::{RUN, WHOLE};

const TOOLS: [&str; 4] = ["python3", "ffmpeg", "moq", "moq-relay"];
/// Longer than it takes until all publishers are there, on a busy machine too.
const LIFE_SECONDS: u64 = 15;
/// The year 2100.
const LATE: &str = "4102444800";

#[test]
fn one_token_admits_here_and_to_a_released_relay() {
    if !tools::require(&TOOLS) {
        return;
    }
    for algorithm in ["HS256", "EdDSA"] {
        check(algorithm);
    }
}

fn check(algorithm: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key.jwk");
    let file = key.to_str().expect("a plain name");
    peers::auth(&["generate", "--algorithm", algorithm, "--out", file]);
    let sign = |arguments: &[&str]| peers::auth(&[&["sign", "--key", file][..], arguments].concat());
    let token = sign(&["--root", "live", "--publish", "cam0", "--subscribe", "**", "--expires", LATE]);
    let expired = sign(&["--root", "live", "--publish", "**", "--expires", "1000000000"]);
    let other = sign(&["--root", "other", "--publish", "**"]);

    let server = AuthServer::start(&key);
    let relay = Relay::start_asking(&server);
    let gateway = Gateway::start(&["--auth-jwt-key", file, "--log", "debug"]);
    let clip = Fixture::load("bframes").file();
    for url in [relay.url(), gateway.moq_url()] {
        for bad in [&expired, &other] {
            let refused = peers::import_ts(&format!("{url}live?jwt={bad}"), "cam0", &clip, 1.0);
            let _ = refused.log().wait("unauthorized");
        }
        let copy = folder.path().join("copy.ts");
        let _publisher = peers::import_ts(&format!("{url}live?jwt={token}"), "cam0", &clip, 0.5);
        let _viewer = peers::export_ts(&format!("{url}live?jwt={token}"), "cam0", &copy, WHOLE);
        wait::until_true(&format!("media from {url}"), RUN, || {
            std::fs::metadata(&copy).is_ok_and(|file| file.len() > 100_000)
        });
    }
    gateway.wait_gone("live/cam0");

    let srt = |shown: &str, path: &str| {
        let streamid = format!("#!::r={path},m=publish,t={shown}");
        libsrt::call(gateway.srt(), Caller { streamid: &streamid, ..Caller::default() })
    };
    assert!(srt(&token, "live/cam0").connected);
    assert_eq!(srt(&token, "live/cam1").reason, 1403);
    assert_eq!(srt(&expired, "live/cam0").reason, 1401);
    gateway.wait_gone("live/cam0");
    let encoder = media::push_forever_rtmp(&clip, &gateway.rtmp_url(&format!("live/cam0?token={token}")));
    gateway.wait_live("live/cam0");
    drop(encoder);
    let refused = media::push_forever_rtmp(&clip, &gateway.rtmp_url(&format!("live/cam0?token={expired}")));
    let _ = refused.log().wait("Server error: the token has expired");
    for line in gateway.log().lines() {
        assert!(![&token, &expired, &other].iter().any(|token| line.contains(token.as_str())), "{line}");
    }
}

#[test]
fn a_token_that_ends_while_it_is_used_ends_its_session() {
    if !tools::require(&TOOLS) || !tools::require(&[tools::NEWER_FFMPEG]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key.jwk");
    let file = key.to_str().expect("a plain name");
    peers::auth(&["generate", "--out", file]);
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    let soon = (now.expect("after 1970").as_secs() + LIFE_SECONDS).to_string();
    let token = peers::auth(&["sign", "--key", file, "--publish", "live/**", "--expires", &soon]);
    let gateway = Gateway::start(&["--auth-jwt-key", file]);
    let clip = Fixture::load("bframes").file();
    let encoder = media::push_forever_rtmp(&clip, &gateway.rtmp_url(&format!("live/rtmp?token={token}")));
    let id = format!("#!::r=live/srt,m=publish,t={token}");
    let _over_srt = media::push_forever(&clip, &media::srt_url_with(gateway.srt(), &id, ""));
    let native = peers::import_ts(&format!("{}?jwt={token}", gateway.moq_url()), "live/moq", &clip, 0.25);
    let whip = format!("http://{}/whip/live/webrtc", gateway.http());
    let _over_whip = media::push_forever_whip(&Fixture::load("plain").file(), &whip, &token);
    let paths = ["live/rtmp", "live/srt", "live/moq", "live/webrtc"];
    for path in paths {
        gateway.wait_listed(path);
    }
    let told = "Server error: the credential has expired";
    wait::until_true("the end of the token", RUN, || encoder.log().find(told).is_some());
    let _ = native.log().wait("unauthorized");
    for path in paths {
        gateway.wait_gone(path);
    }
    for protocol in ["rtmp", "srt", "moq", "webrtc"] {
        assert_eq!(gateway.ended(protocol, "expired"), 1, "{protocol}");
    }
}
