//! AES-128, -192 and -256 with libsrt's own encoder side, keys refreshed on the way.

use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::{media, peers, tools, wait};

use crate::{KEEP, RUN, WHOLE};

fn check(key_bytes: u8) {
    if !tools::require(&["ffmpeg", "ffprobe", "moq"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy.ts");
    let clip = Fixture::load("latm");
    let arguments: Vec<&str> =
        ["--srt-passphrase", "correct-horse-battery"].into_iter().chain(KEEP).collect();
    let gateway = Gateway::start(&arguments);
    let mut viewer = peers::export_ts(&gateway.moq_url(), "live/cam0", &copy, WHOLE);
    wait::until_true("the viewer's session", wait::SOON, || gateway.sessions("moq").len() == 1);
    let options =
        format!("&passphrase=correct-horse-battery&pbkeylen={key_bytes}&kmrefreshrate=64&kmpreannounce=16");
    let mut encoder = media::push(&clip.file(), &media::srt_url(gateway.srt(), "live/cam0", &options), 1.0);
    assert!(encoder.wait(RUN).success());
    viewer.wait(RUN);
    media::assert_same_content(&clip.file(), &copy);
}

#[test]
fn aes_128() {
    check(16);
}

#[test]
fn aes_192() {
    check(24);
}

#[test]
fn aes_256() {
    check(32);
}
