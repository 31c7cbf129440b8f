//! ffmpeg pushes H.264 with B-frames and AAC; the released `moq`, which has joined before, gets all of it unchanged.

use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::{media, peers, tools, wait};

use crate::{KEEP, RUN, WHOLE};

fn check(clip: &str, stream_id: &str, broadcast: &str) {
    if !tools::require(&["ffmpeg", "ffprobe", "moq"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy.ts");
    let clip = Fixture::load(clip);
    let gateway = Gateway::start(&KEEP);
    let mut viewer = peers::export_ts(&gateway.moq_url(), broadcast, &copy, WHOLE);
    wait::until_true("the viewer's session", wait::SOON, || gateway.sessions("moq").len() == 1);
    let url = format!("srt://{}?streamid={stream_id}", gateway.srt());
    let mut encoder = media::push(&clip.file(), &url, 2.0);
    assert!(encoder.wait(RUN).success());
    viewer.wait(RUN);
    media::assert_same_content(&clip.file(), &copy);
}

#[test]
fn h264_with_b_frames_and_aac() {
    check("bframes", "%23!::r=live/cam0,m=publish", "live/cam0");
}

#[test]
fn h265_from_a_bare_name() {
    check("hevc", "live/cam1", "live/cam1");
}

#[test]
fn aac_in_latm_from_the_colon_form() {
    check("latm", "publish:live/cam2", "live/cam2");
}
