//! Stream keys: every form on every protocol, and why one is refused, as the peer's user gets to read it.

use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::keys::{Desk, Key};
use moqgate_tests::libsrt::{self, Caller};
use moqgate_tests::process::Process;
use moqgate_tests::{media, peers, tools, wait};
use serde_json::json;

use crate::WHOLE;

const TOOLS: [&str; 3] = ["python3", "ffmpeg", "moq"];
/// `SRT_REJX_UNAUTHORIZED`
const UNAUTHORIZED: i32 = 1401;
/// `SRT_REJX_OVERLOAD`
const OVERLOAD: i32 = 1402;
/// `SRT_REJX_FORBIDDEN`
const FORBIDDEN: i32 = 1403;
/// `SRT_REJ_BADSECRET`
const BAD_SECRET: i32 = 10;
/// `SRT_REJ_UNSECURE`
const UNSECURE: i32 = 11;
/// Nobody's.
const UNKNOWN: &str = "mg_000000000000000000000000";
const PASSPHRASE: &str = "correct horse battery";

/// An SRT peer that asks for `path` with a stream id that ends so.
fn srt(gateway: &Gateway, path: &str, mode: &str, more: &str) -> libsrt::Call {
    let streamid = format!("#!::r={path},m={mode}{more}");
    libsrt::call(gateway.srt(), Caller { streamid: &streamid, ..Caller::default() })
}

fn moq_url(gateway: &Gateway, token: &str) -> String {
    format!("{}?jwt={token}", gateway.moq_url())
}

/// A native publisher with a token.
fn moq_push(gateway: &Gateway, path: &str, token: &str) -> Process {
    peers::import_ts(&moq_url(gateway, token), path, &Fixture::load("bframes").file(), 1.0)
}

#[test]
fn one_key_in_every_form_publishes() {
    if !tools::require(&TOOLS) {
        return;
    }
    let mut desk = Desk::open(&[]);
    let Key { id: _, secret } = desk.key("live/cam0", "publish", &json!({}));
    for form in [
        format!("#!::r=live/cam0,m=publish,t={secret}"),
        format!("#!::r=live/cam0,m=publish,u={secret}"),
        format!("#!::r=live/cam0,m=publish,u=studio,s={secret}"),
        format!("#!::r=live/cam0,m=publish,token={secret}"),
        format!("publish:live/cam0:studio:{secret}"),
        format!("live/cam0?key={secret}"),
        format!("live/{secret}"),
    ] {
        let call = libsrt::call(desk.gateway.srt(), Caller { streamid: &form, ..Caller::default() });
        assert!(call.connected, "SRT {form}: {call:?}");
        desk.gateway.wait_gone("live/cam0");
    }
    let clip = Fixture::load("bframes").file();
    for form in [
        format!("live/cam0?key={secret}"),
        format!("live/cam0?token={secret}"),
        format!("live/cam0?user=studio&pass={secret}"),
        format!("live/{secret}"),
    ] {
        let encoder = media::push_forever_rtmp(&clip, &desk.gateway.rtmp_url(&form));
        desk.gateway.wait_live("live/cam0");
        drop(encoder);
        desk.gateway.wait_gone("live/cam0");
    }
    let _native = moq_push(&desk.gateway, "live/cam0", &secret);
    desk.gateway.wait_listed("live/cam0");
}

#[test]
fn one_key_plays_everywhere() {
    if !tools::require(&TOOLS) {
        return;
    }
    let mut desk = Desk::open(&[]);
    let publisher = desk.key("live/cam0", "publish", &json!({}));
    let Key { id, secret } = desk.key("live/**", "play", &json!({"tier": "gold", "tenant": "acme"}));
    let clip = Fixture::load("bframes").file();
    let url = desk.gateway.rtmp_url(&format!("live/cam0?key={}", publisher.secret));
    let _encoder = media::push_forever_rtmp(&clip, &url);
    desk.gateway.wait_live("live/cam0");

    let folder = tempfile::tempdir().expect("a folder");
    let _over_srt =
        media::play(&format!("srt://{}?streamid=#!::r=live/cam0,m=request,t={secret}", desk.gateway.srt()));
    let _over_rtmp = media::play(&desk.gateway.rtmp_url(&format!("live/cam0?token={secret}")));
    let copy = folder.path().join("copy.ts");
    let _over_moq = peers::export_ts(&moq_url(&desk.gateway, &secret), "live/cam0", &copy, WHOLE);
    wait::until_true("three viewers", wait::SOON, || {
        desk.gateway.broadcast("live/cam0").is_some_and(|entry| entry["viewers"] == 3)
    });
    for protocol in ["srt", "rtmp", "moq"] {
        let sessions = desk.gateway.sessions(protocol);
        let viewer = sessions.iter().find(|session| session["tier"] == "gold").expect("it is the key's");
        assert_eq!(viewer["tenant"], "acme", "{protocol}");
        assert_eq!(viewer["credential"], format!("key:{id}"), "{protocol}");
    }
}

/// What a peer shows, and what its user reads: libsrt's reject reason, and the sentence that ffmpeg prints.
struct Refusal<'a> {
    shown: &'a str,
    path: &'a str,
    reason: i32,
    sentence: &'a str,
}

fn check_publishers(desk: &Desk, refusal: &Refusal<'_>) {
    let Refusal { shown, path, reason, sentence } = *refusal;
    let call = srt(&desk.gateway, path, "publish", &format!(",t={shown}"));
    assert_eq!((call.connected, call.reason), (false, reason), "SRT: {sentence}: {call:?}");
    let url = desk.gateway.rtmp_url(&format!("{path}?key={shown}"));
    let mut encoder = media::push_forever_rtmp(&Fixture::load("bframes").file(), &url);
    let _ = encoder.log().wait(&format!("Server error: {sentence}"));
    assert!(!encoder.wait(wait::SOON).success());
}

fn check_players(desk: &Desk, refusal: &Refusal<'_>) {
    let Refusal { shown, path, reason, sentence } = *refusal;
    let call = srt(&desk.gateway, path, "request", &format!(",t={shown}"));
    assert_eq!((call.connected, call.reason), (false, reason), "SRT: {sentence}: {call:?}");
    let mut player = media::play(&desk.gateway.rtmp_url(&format!("{path}?key={shown}")));
    let _ = player.log().wait(&format!("Server error: {sentence}"));
    assert!(!player.wait(wait::SOON).success());
}

#[test]
fn a_refusal_says_why() {
    if !tools::require(&TOOLS) {
        return;
    }
    let mut desk = Desk::open(&[]);
    let good = desk.key("live/cam0", "publish", &json!({}));
    let player = desk.key("live/**", "play", &json!({}));
    let expired = desk.key("live/**", "both", &json!({"expires": "2020-01-01"}));
    let revoked = desk.key("live/**", "both", &json!({}));
    desk.revoke(&revoked);
    let spent = desk.key("live/**", "both", &json!({"minutes": 1}));
    spend_all(&desk, &spent);

    let table = |shown, path, reason, sentence| Refusal { shown, path, reason, sentence };
    for refusal in [
        table(UNKNOWN, "live/cam0", UNAUTHORIZED, "the stream key or token is not known"),
        table(&expired.secret, "live/cam0", UNAUTHORIZED, "the stream key has expired"),
        table(&revoked.secret, "live/cam0", UNAUTHORIZED, "the stream key was revoked"),
        table(&spent.secret, "live/cam0", OVERLOAD, "the minutes of the stream key are used up"),
        table(&good.secret, "live/cam1", FORBIDDEN, "the credential may not publish live/cam1"),
        table(&player.secret, "live/cam0", FORBIDDEN, "the credential may not publish"),
    ] {
        check_publishers(&desk, &refusal);
    }
    for refusal in [
        table(UNKNOWN, "live/cam0", UNAUTHORIZED, "the stream key or token is not known"),
        table(&expired.secret, "live/cam0", UNAUTHORIZED, "the stream key has expired"),
        table(&revoked.secret, "live/cam0", UNAUTHORIZED, "the stream key was revoked"),
        table(&player.secret, "other", FORBIDDEN, "the credential may not play other"),
        table(&good.secret, "live/cam0", FORBIDDEN, "the credential may not play"),
    ] {
        check_players(&desk, &refusal);
    }
    let call = srt(&desk.gateway, "live/cam0", "publish", "");
    assert_eq!(call.reason, UNAUTHORIZED, "no credential: {call:?}");
    // The released client knows the code and not the sentence, which is in our log.
    for (token, code, sentence) in [
        (UNKNOWN, "unauthorized", "the stream key or token is not known"),
        (&*expired.secret, "unauthorized", "the stream key has expired"),
        (&*revoked.secret, "unauthorized", "the stream key was revoked"),
        (&*player.secret, "unauthorized", "the credential may not publish"),
        (&*spent.secret, "", "the minutes of the stream key are used up"),
    ] {
        let native = moq_push(&desk.gateway, "live/cam0", token);
        let _ = native.log().wait(code);
        wait::until_true(sentence, wait::SOON, || {
            let lines = desk.gateway.log().lines();
            // Who may do something else comes in, and is told when it tries.
            let denied = |line: &String| line.contains("session denied") || line.contains("may not publish");
            lines.iter().any(|line| denied(line) && line.contains(sentence))
        });
    }
    assert!(desk.gateway.broadcast("live/cam0").is_none(), "nobody came in");
}

/// Uses up the only minute of a key.
fn spend_all(desk: &Desk, key: &Key) {
    desk.spend(key, 60);
    wait::until_true("the minutes to be used up", wait::SOON, || {
        desk.api("GET", &format!("/api/v1/keys/{}", key.id), None, 200)["used_seconds"] == 60
    });
}

/// In whatever form a key is shown, what is wrong with it is told alike. Over SRT a key with a passphrase is refused before
/// the passphrase is looked at.
#[test]
fn every_form_is_refused_alike() {
    if !tools::require(&TOOLS) {
        return;
    }
    let mut desk = Desk::open(&[]);
    let wish = json!({"passphrase": PASSPHRASE});
    let wish_with = |more: serde_json::Value| {
        let mut wish = wish.clone();
        wish.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        wish
    };
    let expired = desk.key("live/cam0", "publish", &wish_with(json!({"expires": "2020-01-01"})));
    let revoked = desk.key("live/cam0", "publish", &wish);
    desk.revoke(&revoked);
    let spent = desk.key("live/cam0", "publish", &wish_with(json!({"minutes": 1})));
    spend_all(&desk, &spent);
    let clip = Fixture::load("plain").file();
    for (key, reason, sentence) in [
        (&expired, UNAUTHORIZED, "the stream key has expired"),
        (&revoked, UNAUTHORIZED, "the stream key was revoked"),
        (&spent, OVERLOAD, "the minutes of the stream key are used up"),
    ] {
        let Key { id, secret } = key;
        for form in [
            format!("#!::r=live/cam0,m=publish,u={secret}"),
            format!("#!::r=live/cam0,m=publish,u=studio,s={secret}"),
            format!("#!::r=live/cam0,m=publish,u={id}"),
            format!("live/{secret}"),
        ] {
            let caller = Caller { streamid: &form, passphrase: PASSPHRASE, key_bytes: 16 };
            let call = libsrt::call(desk.gateway.srt(), caller);
            assert_eq!((call.connected, call.reason), (false, reason), "{sentence}: SRT {form}: {call:?}");
        }
        for form in [format!("live/cam0?user=studio&pass={secret}"), format!("live/{secret}")] {
            let encoder = media::push_forever_rtmp(&clip, &desk.gateway.rtmp_url(&form));
            let _ = encoder.log().wait(&format!("Server error: {sentence}"));
        }
    }
}

#[test]
fn each_key_has_its_own_passphrase() {
    if !tools::require(&TOOLS) {
        return;
    }
    let mut desk = Desk::open(&[]);
    let one = desk.key("live/one", "publish", &json!({"passphrase": PASSPHRASE}));
    let two = desk.key("live/two", "publish", &json!({"passphrase": "another one, as long"}));
    let call = |path: &str, shown: &str, passphrase| {
        let streamid = format!("#!::r={path},m=publish,u={shown}");
        libsrt::call(desk.gateway.srt(), Caller { streamid: &streamid, passphrase, key_bytes: 16 })
    };
    assert!(call("live/one", &one.secret, PASSPHRASE).connected);
    assert!(call("live/one", &one.id, PASSPHRASE).connected, "the passphrase is the secret");
    assert!(call("live/two", &two.id, "another one, as long").connected);
    assert_eq!(call("live/two", &two.id, PASSPHRASE).reason, BAD_SECRET, "the other key's");
    let streamid = format!("#!::r=live/one,m=publish,t={}", one.secret);
    let bare = libsrt::call(desk.gateway.srt(), Caller { streamid: &streamid, ..Caller::default() });
    assert_eq!(bare.reason, UNSECURE, "not encrypted");
}

#[test]
fn keys_at_the_command_line_are_noticed() {
    if !tools::require(&TOOLS) {
        return;
    }
    let mut desk = Desk::open(&[]);
    let made = desk.run(&["add", "--path", "live/cam0", "--bitrate", "6M", "--label", "studio 1"]);
    let field = |name: &str| {
        let line = made.lines().find_map(|line| line.strip_prefix(name)).expect("it is printed");
        line.trim().to_owned()
    };
    let (id, secret) = (field("id "), field("secret "));
    desk.keep_secret(&secret);
    let call = srt(&desk.gateway, "live/cam0", "publish", &format!(",t={secret}"));
    assert!(call.connected, "at once: {call:?}");
    let list = desk.run(&["list"]);
    assert!(list.contains(&id) && list.contains("studio 1") && list.contains("6000000"), "{list}");
    assert!(!list.contains(&secret));
    desk.run(&["set", &id, "--path", "live/cam1", "--bitrate", "none"]);
    wait::until_true("the change to be noticed", wait::SOON, || {
        srt(&desk.gateway, "live/cam1", "publish", &format!(",t={secret}")).connected
    });
    desk.run(&["revoke", &id]);
    wait::until_true("the end to be noticed", wait::SOON, || {
        srt(&desk.gateway, "live/cam1", "publish", &format!(",t={secret}")).reason == UNAUTHORIZED
    });
}
