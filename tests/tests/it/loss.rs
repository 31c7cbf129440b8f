//! SRT over a link that loses 2 %, delays by 20 to 24 ms and so reorders, in both directions.

use std::time::Duration;

use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::lossy::{Link, Proxy};
use moqgate_tests::{media, peers, tools, wait};

use crate::{RUN, WHOLE};

const LINK: Link = Link {
    loss_per_mille: 20,
    delay_min: Duration::from_millis(20),
    delay_max: Duration::from_millis(24),
    seed: 20_260_101,
};

/// In microseconds, as ffmpeg has it.
const OPTIONS: &str = "&latency=400000";

#[test]
fn nothing_is_missing_at_400_ms() {
    if !tools::require(&["ffmpeg", "ffprobe", "moq"]) {
        return;
    }
    let seconds = tools::seconds("MOQGATE_LOSS_SECONDS", 20);
    let folder = tempfile::tempdir().expect("a folder");
    let (clip, copy) = (folder.path().join("clip.ts"), folder.path().join("copy.ts"));
    media::repeat(&Fixture::load("bframes").file(), seconds, &clip);
    let gateway = Gateway::start(&["--retention-age", "120s"]);
    let mut viewer = peers::export_ts(&gateway.moq_url(), "live/cam0", &copy, WHOLE);
    wait::until_true("the viewer's session", wait::SOON, || gateway.sessions("moq").len() == 1);
    let proxy = Proxy::start(gateway.srt(), LINK);
    let mut encoder = media::push(&clip, &media::srt_url(proxy.address(), "live/cam0", OPTIONS), 1.0);
    gateway.wait_live("live/cam0");
    let session = gateway.sessions("srt").pop().expect("the encoder's session");
    assert!(encoder.wait(RUN + Duration::from_secs(seconds.into())).success());
    viewer.wait(RUN);
    let (sent, resent, lost) = proxy.counts();
    let figures = format!("{sent} packets, {lost} lost, {resent} resent; link: {}", session["link"]);
    println!("{figures}");
    assert!(lost > 0 && resent >= lost / 2, "{figures}");
    assert!(resent < 3 * lost, "{figures}");
    media::assert_same_content(&clip, &copy);
    let complaints: Vec<_> =
        gateway.log().lines().into_iter().filter(|line| line.contains("continuity")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}
