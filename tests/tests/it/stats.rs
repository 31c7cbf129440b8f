//! Usage as a broadcast, read as dashboards of the released relay read it.

use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::{media, peers, tools, wait};
use serde_json::Value;

use crate::{RUN, WHOLE};

const BROADCAST: &str = "live/cam0";
const STATS: &str = ".stats/node/ams-1";
/// What it is called below [`ROOT`], where a client has to begin to see it listed.
const NODE: &str = "node/ams-1";
const ROOT: &str = ".stats";

fn reading(gateway: &Gateway, track: &str) -> Value {
    serde_json::from_slice(&peers::fetch(&format!("{}{ROOT}", gateway.moq_url()), NODE, track))
        .expect("one JSON frame")
}

#[test]
fn the_stats_broadcast_agrees_with_the_usage_report() {
    if !tools::require(&["ffmpeg", "moq"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let clip = Fixture::load("bframes");
    let gateway = Gateway::start(&["--moq-stats", "--node", "ams-1", "--retention-age", "60s"]);
    let mut viewer = peers::export_ts(&gateway.moq_url(), BROADCAST, &folder.path().join("copy.ts"), WHOLE);
    assert!(
        media::push(&clip.file(), &media::srt_url(gateway.srt(), BROADCAST, ""), 4.0).wait(RUN).success()
    );
    viewer.wait(RUN);
    let usage = gateway.usage();
    let (egress, ingress) = (usage.egress(BROADCAST, "moq"), usage.ingress(BROADCAST, "srt"));
    assert!(egress.frames > 0 && ingress.frames > 0);

    // A second later it is on the tracks.
    let publisher = wait::until("the last count of the viewer", RUN, || {
        let publisher = reading(&gateway, "publisher.json");
        (publisher[BROADCAST]["broadcasts_ended"].as_u64() == Some(egress.active.closed)).then_some(publisher)
    });
    let left = &publisher[BROADCAST];
    for (field, count) in [
        ("frames", egress.frames),
        ("bytes", egress.bytes),
        ("groups", egress.groups),
        ("broadcasts_started", egress.active.opened),
        ("subscriptions_started", egress.subscriptions.opened),
        ("subscriptions_ended", egress.subscriptions.closed),
    ] {
        assert_eq!(left[field], count, "{field}: {left}");
    }
    let subscriber = reading(&gateway, "subscriber.json");
    let came = &subscriber[BROADCAST];
    assert_eq!(
        (came["frames"].as_u64(), came["bytes"].as_u64()),
        (Some(ingress.frames), Some(ingress.bytes))
    );
    assert!(reading(&gateway, "sessions.json")[""]["sessions_started"].as_u64() >= Some(2));

    // Reading it costs the reader, and is not among what it shows.
    assert!(gateway.usage().egress(STATS, "moq").frames > 0);
    for track in ["publisher.json", "subscriber.json"] {
        let shown = reading(&gateway, track);
        let paths: Vec<&String> = shown.as_object().expect("by path").keys().collect();
        assert_eq!(paths, [BROADCAST], "{track}");
    }
    assert_eq!(reading(&gateway, "publisher.json"), publisher, "reading changed nothing");
}
