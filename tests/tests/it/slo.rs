//! Latency through the program, as `/api/v1/slo` and the metrics report it.

use moqgate_tests::browser::Page;
use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::{http, media, peers, tools, wait};
use serde_json::{Value, json};

use crate::{RUN, WHOLE};

const BROADCAST: &str = "live/cam0";
/// In the order of the report.
const TRANSPORTS: [&str; 4] = ["moq", "rtmp", "srt", "webrtc"];

fn entries(gateway: &Gateway) -> Vec<Value> {
    gateway.api("/api/v1/slo")["entries"].as_array().cloned().unwrap_or_default()
}

fn count(gateway: &Gateway, transport: &str) -> Option<u64> {
    let page = http::get(gateway.http(), "/metrics")?.text();
    let name = format!("moqgate_egress_latency_seconds_count{{transport=\"{transport}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok())
}

#[test]
fn every_transport_has_its_latency_and_the_promises_are_kept_book_of() {
    if !tools::require(&["ffmpeg", "moq", "chromium", "chromedriver"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let clip = Fixture::load("plain");
    let promises =
        "broadcast=live/**,transport=moq,below=60s;broadcast=**,below=1ms,percentile=50,window=10m";
    let gateway = Gateway::start(&["--objective", promises]);
    let url = media::srt_url(gateway.srt(), BROADCAST, "");
    let encoder = media::push_forever(&clip.file(), &url);
    gateway.wait_live(BROADCAST);
    let viewer = peers::export_ts(&gateway.moq_url(), BROADCAST, &folder.path().join("copy.ts"), WHOLE);
    let request = format!("#!::m=request,r={BROADCAST}");
    let players = [media::srt_url_with(gateway.srt(), &request, ""), gateway.rtmp_url(BROADCAST)];
    let players = players.map(|url| media::play(&url));
    let browser = Page::visit(&format!("http://{}/watch/{BROADCAST}", gateway.http()));
    let seen = wait::until("samples of all", RUN, || {
        let seen = entries(&gateway);
        let enough = seen.iter().all(|entry| entry["total_observed"].as_u64() > Some(50));
        (seen.len() == TRANSPORTS.len() && enough).then_some(seen)
    });
    for (entry, transport) in seen.iter().zip(TRANSPORTS) {
        assert_eq!((&entry["broadcast"], &entry["transport"]), (&json!(BROADCAST), &json!(transport)));
        let value = |name: &str| entry[name].as_u64().expect("a whole number");
        assert!(value("p50_ms") <= value("p95_ms") && value("p95_ms") <= value("p99_ms"), "{entry}");
        assert!(value("p99_ms") <= value("max_ms"), "{entry}");
        assert_eq!(value("sample_count"), value("total_observed").min(1024), "{entry}");
    }
    let promises = gateway.api("/api/v1/slo")["objectives"].clone();
    assert_eq!((&promises[0]["broadcast"], &promises[0]["transport"]), (&json!("live/**"), &json!("moq")));
    assert_eq!((&promises[0]["slow"], &promises[0]["budget_left"]), (&json!(0), &json!(1.0)), "{promises}");
    assert!(promises[0]["frames"].as_u64() > Some(50), "{promises}");
    // A paced player waits for its time, so most of what it gets is later than a millisecond.
    assert!(promises[1]["slow"].as_u64() > Some(0), "{promises}");
    assert_eq!(promises[1]["broadcasts"].as_array().map(Vec::len), Some(TRANSPORTS.len()), "{promises}");

    drop((players, browser, viewer, encoder));
    gateway.wait_gone(BROADCAST);
    assert_eq!(entries(&gateway), Vec::<Value>::new(), "entries go with their broadcast");
    for transport in TRANSPORTS {
        assert!(count(&gateway, transport) > Some(50), "the sum of {transport} stays");
    }
}
