//! ffmpeg pushes H.264 with B-frames and AAC; the released `moq`, which has joined before, gets all of it unchanged.
//! So does it when another `moq` publishes natively.

use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::process::Process;
use moqgate_tests::{media, peers, tools, wait};

use crate::{KEEP, RUN, WHOLE};

fn check(clip: &str, broadcast: &str, publish: impl FnOnce(&Gateway, &Fixture) -> Process) {
    if !tools::require(&["ffmpeg", "ffprobe", "moq"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy.ts");
    let clip = Fixture::load(clip);
    let gateway = Gateway::start(&KEEP);
    let mut viewer = peers::export_ts(&gateway.moq_url(), broadcast, &copy, WHOLE);
    wait::until_true("the viewer's session", wait::SOON, || gateway.sessions("moq").len() == 1);
    let mut encoder = publish(&gateway, &clip);
    assert!(encoder.wait(RUN).success());
    viewer.wait(RUN);
    media::assert_same_content(&clip.file(), &copy);
}

/// ffmpeg with this stream id.
fn srt(stream_id: &'static str) -> impl FnOnce(&Gateway, &Fixture) -> Process {
    move |gateway, clip| media::push(&clip.file(), &media::srt_url_with(gateway.srt(), stream_id, ""), 2.0)
}

#[test]
fn h264_with_b_frames_and_aac() {
    check("bframes", "live/cam0", srt("#!::r=live/cam0,m=publish"));
}

#[test]
fn h265_from_a_bare_name() {
    check("hevc", "live/cam1", srt("live/cam1"));
}

#[test]
fn aac_in_latm_from_the_colon_form() {
    check("latm", "live/cam2", srt("publish:live/cam2"));
}

#[test]
fn from_a_native_publisher() {
    check("bframes", "live/native", |gateway, clip| {
        peers::import_ts(&gateway.moq_url(), "live/native", &clip.file(), 2.0)
    });
}
