//! Refusals as libsrt understands them.

use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::libsrt::{self, Caller};
use moqgate_tests::{media, tools};

/// `SRT_REJ_BADSECRET`
const BAD_SECRET: i32 = 10;
/// `SRT_REJ_UNSECURE`
const UNSECURE: i32 = 11;
/// `SRT_REJX_BAD_REQUEST`
const BAD_REQUEST: i32 = 1400;
/// `SRT_REJX_NOTFOUND`
const NOT_FOUND: i32 = 1404;
/// `SRT_REJX_CONFLICT`
const CONFLICT: i32 = 1409;
/// Longer than any passphrase of a test has to be.
const SECRET: &str = "correct horse battery";

fn check(gateway: &Gateway, caller: Caller<'_>, reason: i32) {
    let call = libsrt::call(gateway.srt(), caller);
    assert!(!call.connected && call.reason == reason, "{caller:?}: {call:?}, not {reason}");
}

fn named(streamid: &str) -> Caller<'_> {
    Caller { streamid, ..Caller::default() }
}

#[test]
fn stream_ids() {
    if !tools::require(&["python3"]) {
        return;
    }
    // A player would wait for its publisher otherwise.
    let gateway = Gateway::start(&["--srt-play-wait", "0s"]);
    check(&gateway, named(""), BAD_REQUEST);
    check(&gateway, named("#!:"), BAD_REQUEST);
    check(&gateway, named("#!::r=a,r=b,m=publish"), BAD_REQUEST);
    check(&gateway, named("#!::r=live/nobody"), NOT_FOUND);
    check(&gateway, named("read:live/nobody"), NOT_FOUND);
    assert!(libsrt::call(gateway.srt(), named("#!::r=live/cam0,m=publish")).connected);
}

#[test]
fn a_name_that_is_taken() {
    if !tools::require(&["python3", "ffmpeg"]) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let clip = Fixture::load("bframes");
    let _encoder = media::push_forever(&clip.file(), &media::srt_url(gateway.srt(), "live/cam0", ""));
    gateway.wait_live("live/cam0");
    check(&gateway, named("#!::r=live/cam0,m=publish"), CONFLICT);
    assert!(gateway.broadcast("live/cam0").is_some(), "the first one goes on");
}

#[test]
fn a_secret_where_none_is_wanted() {
    if !tools::require(&["python3"]) {
        return;
    }
    let gateway = Gateway::start(&[]);
    check(&gateway, Caller { streamid: "live/cam0", passphrase: SECRET, key_bytes: 0 }, UNSECURE);
}

#[test]
fn a_wrong_or_missing_secret() {
    if !tools::require(&["python3"]) {
        return;
    }
    let gateway = Gateway::start(&["--srt-passphrase", SECRET]);
    check(&gateway, named("live/cam0"), UNSECURE);
    check(
        &gateway,
        Caller { streamid: "live/cam0", passphrase: "wrong horse battery", key_bytes: 16 },
        BAD_SECRET,
    );
    for key_bytes in [0, 16, 24, 32] {
        let call =
            libsrt::call(gateway.srt(), Caller { streamid: "live/cam0", passphrase: SECRET, key_bytes });
        assert!(call.connected, "{key_bytes} bytes: {call:?}");
    }
}
