//! `moqgate --relay` in front of a released `moq-relay`.

use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::peers::{self, Relay};
use moqgate_tests::{media, tools, wait};

use crate::{KEEP, RUN, WHOLE};

const TOOLS: [&str; 4] = ["ffmpeg", "ffprobe", "moq", "moq-relay"];
const BROADCAST: &str = "live/cam0";

fn gateway_before(relay: &Relay) -> Gateway {
    let url = format!("https://{}/", relay.address());
    let arguments: Vec<&str> = ["--relay", &url, "--relay-tls-insecure"].into_iter().chain(KEEP).collect();
    Gateway::start(&arguments)
}

fn wait_announced(relay: &Relay) {
    wait::until_true("the broadcast at the relay", RUN, || {
        relay.announced().iter().any(|name| name == BROADCAST)
    });
}

#[test]
fn a_viewer_at_the_relay_gets_every_unit() {
    if !tools::require(&TOOLS) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy.ts");
    let clip = Fixture::load("bframes");
    let relay = Relay::start();
    let gateway = gateway_before(&relay);
    let mut viewer = peers::export_ts(&relay.url(), BROADCAST, &copy, WHOLE);
    wait::until_true("the session with the relay", wait::SOON, || gateway.sessions("moq").len() == 1);
    let mut encoder = media::push(&clip.file(), &media::srt_url(gateway.srt(), BROADCAST, ""), 2.0);
    assert!(encoder.wait(RUN).success());
    viewer.wait(RUN);
    media::assert_same_content(&clip.file(), &copy);
}

#[test]
fn the_stream_comes_back_after_the_relay_has_restarted() {
    if !tools::require(&TOOLS) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy.ts");
    let clip = Fixture::load("bframes");
    let mut relay = Relay::start();
    let gateway = gateway_before(&relay);
    let _encoder = media::push_forever(&clip.file(), &media::srt_url(gateway.srt(), BROADCAST, ""));
    wait_announced(&relay);
    relay.kill();
    let relay = Relay::start_at(relay.address());
    wait_announced(&relay);
    let _viewer = peers::export_ts(&relay.url(), BROADCAST, &copy, WHOLE);
    let some = || std::fs::metadata(&copy).is_ok_and(|file| file.len() > 200_000);
    wait::until_true("media after the restart", RUN, some);
}
