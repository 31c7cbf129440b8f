//! From a clock that is drawn in a page, over WHIP and back to the same page over WHEP and MoQ. How late the pictures are is
//! measured by the ignored test:
//!
//!     cargo build --release -p moqgate
//!     MOQGATE_BINARY=target/release/moqgate \
//!         cargo test -p moqgate-tests --test it -- glass --ignored --nocapture

use moqgate_tests::browser::Page;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::{tools, wait};

use crate::RUN;

const TOOLS: [&str; 2] = ["chromium", "chromedriver"];
const BROADCAST: &str = "live/cam0";

/// Begins a broadcast from a clock, and watches it in both ways.
fn begin(gateway: &Gateway, codec: &str, muted: bool) -> Page {
    let page = Page::studio(gateway, BROADCAST);
    page.settle(&format!("studio.publish({{ codec: '{codec}' }})"));
    wait::until_true("picture and sound", RUN, || {
        gateway
            .broadcast(BROADCAST)
            .is_some_and(|entry| entry["tracks"].as_array().is_some_and(|tracks| tracks.len() == 2))
    });
    page.settle(&format!("studio.watch({{ codec: '{codec}' }})"));
    let _ = page.run(&format!("studio.play({{ muted: {muted} }})"));
    page
}

/// The released player gets sound and shows pictures of a browser, in which the clock is read, and so does WHEP.
fn check_seen(codec: &str) {
    if !tools::require(&TOOLS) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let page = begin(&gateway, codec, false);
    let _ = page.wait("studio.late.whep.late.length > 20 && studio.late.moq.late.length > 20", RUN);
    let _ =
        page.wait("studio.heard().audio?.bytesReceived > 5000 && studio.heard().video.frameCount > 20", RUN);
    let heard = page.run("return studio.heard()");
    assert_eq!(
        (&heard["transport"], &heard["sampleRate"]),
        (&"webtransport".into(), &48_000.into()),
        "{heard:#}"
    );
    assert_eq!(gateway.broadcast(BROADCAST).expect("it is live")["viewers"], 2);
}

#[test]
fn a_browser_with_h264_is_seen_in_the_released_player() {
    check_seen("H264");
}

#[test]
fn a_browser_with_vp8_is_seen_in_the_released_player() {
    check_seen("VP8");
}

/// Percentiles of what was noted as late, in milliseconds.
fn late(page: &Page, way: &str) -> String {
    let late = page.run(&format!("return studio.late.{way}.late"));
    let mut late: Vec<f64> = serde_json::from_value(late).expect("numbers");
    late.sort_by(f64::total_cmp);
    let at = |percent: usize| late[(late.len() * percent / 100).min(late.len() - 1)];
    let [p50, p95, max] = [50, 95, 100].map(at);
    format!("{} pictures, p50 {p50:.0} ms, p95 {p95:.0} ms, max {max:.0} ms", late.len())
}

#[test]
#[ignore = "a measurement, not a test: see the head of the file"]
fn from_glass_to_glass() {
    let gateway = Gateway::start(&[]);
    let page = begin(&gateway, "H264", true);
    page.settle("studio.watch({ sound: false })");
    let _ = page.wait("Object.values(studio.late).every(({ late }) => late.length > 90)", RUN);
    let _ = page.run("studio.forget()");
    let seconds = tools::seconds("MOQGATE_GLASS_SECONDS", 20);
    let _ = page.wait(&format!("studio.since() > {seconds}000"), RUN * 2);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let buffer = page.run("return studio.heard()")["buffer"].clone();
    println!("WHEP: {}; without sound: {}", late(&page, "whep"), late(&page, "silent"));
    println!("MoQ: {}, of which the player waits {buffer} ms; load {load}", late(&page, "moq"));
}
