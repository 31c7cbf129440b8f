//! Admission by a webhook.

use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::libsrt::{self, Call, Caller};
use moqgate_tests::webhook::Webhook;
use moqgate_tests::{media, tools};
use serde_json::Value;

/// `SRT_REJX_FORBIDDEN`
const FORBIDDEN: i32 = 1403;
/// `SRT_REJX_DOWN`
const DOWN: i32 = 1503;

/// `good` may do what it asks for, `bad` is told why not, and `slow` waits for ever.
fn answer(question: &Value) -> Option<(u16, &'static str, String)> {
    match question["credential"]["token"].as_str() {
        Some("good") => Some((200, "", r#"{"tier":"gold","tenant":"acme"}"#.to_owned())),
        Some("fresh") => Some((200, "cache-control: no-store\r\n", "{}".to_owned())),
        Some("slow") => None,
        _ => Some((403, "", r#"{"detail":"no such customer"}"#.to_owned())),
    }
}

fn call(gateway: &Gateway, token: &str) -> Call {
    let streamid = format!("#!::r=live/cam0,m=publish,t={token}");
    libsrt::call(gateway.srt(), Caller { streamid: &streamid, ..Caller::default() })
}

#[test]
fn it_decides_and_is_remembered() {
    if !tools::require(&["python3", "ffmpeg"]) {
        return;
    }
    let webhook = Webhook::start(answer);
    let gateway = Gateway::start(&["--auth-url", &webhook.url(), "--auth-cache", "1h", "--node", "ams-1"]);
    let clip = Fixture::load("bframes").file();
    let encoder = media::push_forever_rtmp(&clip, &gateway.rtmp_url("live/cam0?token=good"));
    gateway.wait_live("live/cam0");
    let session = &gateway.sessions("rtmp")[0];
    assert_eq!((&session["tier"], &session["tenant"]), (&Value::from("gold"), &Value::from("acme")));
    let expected = serde_json::json!({
        "node": "ams-1", "protocol": "rtmp", "direction": "publish", "path": "live/cam0",
        "peer": "127.0.0.1", "credential": {"token": "good"},
    });
    assert_eq!(webhook.asked(), [expected]);
    drop(encoder);
    gateway.wait_gone("live/cam0");

    let refused = media::push_forever_rtmp(&clip, &gateway.rtmp_url("live/cam0?token=bad"));
    let _ = refused.log().wait("Server error: no such customer");
    let before = webhook.asked().len();
    for _ in 0..3 {
        assert!(call(&gateway, "good").connected);
        gateway.wait_gone("live/cam0");
        assert_eq!(call(&gateway, "bad").reason, FORBIDDEN);
    }
    assert_eq!(webhook.asked().len(), before + 2, "once for each that is new");
    for _ in 0..2 {
        assert!(call(&gateway, "fresh").connected);
        gateway.wait_gone("live/cam0");
    }
    assert_eq!(webhook.asked().len(), before + 4, "each time, as it wants to be asked");
}

#[test]
fn one_that_does_not_answer_lets_nobody_in_unless_told_so() {
    if !tools::require(&["python3"]) {
        return;
    }
    let webhook = Webhook::start(answer);
    let gateway = Gateway::start(&["--auth-url", &webhook.url(), "--auth-timeout", "300ms"]);
    assert_eq!(call(&gateway, "slow").reason, DOWN);
    let _ = gateway.log().wait("it did not answer in time");
    assert!(call(&gateway, "good").connected, "others do not wait for it");
    let trusting =
        Gateway::start(&["--auth-url", &webhook.url(), "--auth-timeout", "300ms", "--auth-fail-open"]);
    assert!(call(&trusting, "slow").connected);
    assert_eq!(call(&trusting, "bad").reason, FORBIDDEN, "an answer is an answer");
}
