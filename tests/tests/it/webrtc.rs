//! A browser publishes and browsers watch, with nothing but what is built into them.

use moqgate_tests::browser::Page;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::{tools, wait};
use serde_json::Value;

use crate::RUN;

const TOOLS: [&str; 2] = ["chromium", "chromedriver"];
const BROADCAST: &str = "live/cam0";

/// Publishes the made-up camera, with more in the query.
fn publish(gateway: &Gateway, more: &str) -> Page {
    let url = format!("http://{}/publish/{BROADCAST}?auto=1&width=640&height=360{more}", gateway.http());
    let page = Page::visit(&url);
    let _ = page.wait("session.state === 'connected' || session.error", RUN);
    assert_eq!(page.run("return session.error"), "", "{}", page.console());
    page
}

fn watch(gateway: &Gateway) -> Page {
    Page::visit(&format!("http://{}/watch/{BROADCAST}", gateway.http()))
}

/// Counts of the picture after `seconds` of watching it.
fn measure(page: &Page, seconds: u32) -> (Value, Value) {
    let _ = page.wait("session.stats.video?.framesDecoded > 0", RUN);
    let before = page.run("return session.stats");
    let after = format!("session.stats.at > {} + {seconds}000", before["at"]);
    let _ = page.wait(&after, RUN);
    (before, page.run("return session.stats"))
}

#[test]
fn a_browser_publishes_and_another_one_watches() {
    if !tools::require(&TOOLS) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let _publisher = publish(&gateway, "");
    let live = gateway.wait_live(BROADCAST);
    assert_eq!(live["protocol"], "webrtc");
    let viewer = watch(&gateway);
    let (before, after) = measure(&viewer, tools::seconds("MOQGATE_WEBRTC_SECONDS", 5));
    let count = |stats: &Value, name: &str| stats["video"][name].as_f64().unwrap_or_default();
    let seconds = (after["at"].as_f64().expect("a time") - before["at"].as_f64().expect("a time")) / 1e3;
    let rate = (count(&after, "framesDecoded") - count(&before, "framesDecoded")) / seconds;
    // The made-up camera has 20 frames a second.
    assert!((18.0..22.0).contains(&rate), "{rate} frames a second");
    // A machine that is busy with other tests may lose its breath once.
    assert!(count(&after, "freezeCount") <= 1.0, "{after:#}");
    // A muted element makes no sound that could be measured.
    let _ = viewer.run("element('video').muted = false");
    wait::until_true("sound", wait::SOON, || {
        viewer.run("return session.stats.audio?.totalAudioEnergy ?? 0").as_f64() > Some(0.0)
    });
}
