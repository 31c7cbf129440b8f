//! The rig against released peers alone, so that a failure elsewhere is the gateway's.

use std::time::Duration;

use moqgate_tests::browser::Page;
use moqgate_tests::fixture::Fixture;
use moqgate_tests::{media, peers, tools, wait};

const BROADCAST: &str = "live/rig";
const RUN: Duration = Duration::from_secs(60);

#[test]
fn a_clip_survives_released_peers() {
    if !tools::require(&["moq", "moq-relay", "ffmpeg", "ffprobe"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy.ts");
    let clip = Fixture::load("bframes");
    let relay = peers::Relay::start();
    let mut export = peers::export_ts(&relay.url(), BROADCAST, &copy, Duration::from_secs(30));
    let _ = export.log().wait("connected version");
    let mut import = peers::import_ts(&relay.url(), BROADCAST, &clip.file(), 2.0);
    assert!(import.wait(RUN).success());
    export.wait(RUN);
    media::assert_same_content(&clip.file(), &copy);
}

#[test]
fn a_page_sees_and_counts() {
    if !tools::require(&["moq", "moq-relay", "ffmpeg", "chromium", "chromedriver"]) {
        return;
    }
    let relay = peers::Relay::start();
    let query = format!("url={}&name={BROADCAST}", relay.url());
    let watch = Page::open("watch", &query);
    let clip = Fixture::load("bframes");
    let _import = peers::import_ts(&relay.url(), BROADCAST, &clip.file(), 1.0);
    let _ = watch.wait("picture()?.some((cell) => cell > 40)", wait::SOON);
    let probe = watch.run("return probe()");
    assert_eq!((&probe["transport"], &probe["width"]), (&"webtransport".into(), &640.into()), "{probe}");
}
