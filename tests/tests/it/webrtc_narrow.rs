//! Viewers over WHEP whose link is narrower than what they watch.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use moqgate_tests::browser::Page;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::lossy::{Link, Narrow, Proxy};
use moqgate_tests::{media, tools};
use serde_json::Value;

use crate::RUN;

const BROADCAST: &str = "live/cam0";

/// A clip of two renditions, 2 Mbit/s and 250 kbit/s, with a keyframe every second.
fn ladder(folder: &Path) -> PathBuf {
    let file = folder.join("ladder.ts");
    let mut command = Command::new(tools::program("ffmpeg"));
    command.args(["-hide_banner", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=s=640x360:r=25"]);
    command.args(["-t", "8", "-filter_complex", "[0:v]noise=alls=20:allf=t,split[a][b];[b]scale=320:180[c]"]);
    command.args(["-map", "[a]", "-map", "[c]", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "0"]);
    command.args(["-profile:v", "baseline", "-pix_fmt", "yuv420p", "-g", "25"]);
    for (stream, rate) in [("0", "2000k"), ("1", "250k")] {
        command.args([format!("-b:v:{stream}"), rate.to_owned()]);
        command.args([format!("-maxrate:v:{stream}"), rate.to_owned()]);
        command.args([format!("-bufsize:v:{stream}"), rate.to_owned()]);
    }
    let made = command.arg(&file).status().expect("ffmpeg runs");
    assert!(made.success(), "the clip could not be made");
    file
}

fn height(page: &Page) -> u64 {
    page.run("return session.stats.video?.frameHeight").as_u64().unwrap_or_default()
}

/// A viewer through a link that carries `rate` bits per second.
fn watch(gateway: &Gateway, rate: u64) -> (Proxy, Page) {
    let delay = Duration::from_millis(10);
    let link = Link { loss_per_mille: 0, delay_min: delay, delay_max: delay, seed: 7 };
    let narrow = Narrow { rate, queue: Duration::from_millis(300) };
    let proxy = Proxy::narrow(gateway.webrtc(), link, Some(narrow));
    let url = format!("http://{}/watch/{BROADCAST}?via={}", gateway.http(), proxy.address().port());
    (proxy, Page::visit(&url))
}

fn link(gateway: &Gateway) -> Value {
    let sessions = gateway.sessions("webrtc");
    sessions.iter().find(|session| session["direction"] == "subscribe").expect("a viewer")["link"].clone()
}

/// The picture that the link does not carry becomes a smaller one, and plays on.
#[test]
fn a_narrow_link_gets_a_smaller_rendition() {
    if !tools::require(&["chromium", "chromedriver", "ffmpeg"]) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let clip = ladder(folder.path());
    let _encoder = media::push_forever(&clip, &media::srt_url(gateway.srt(), BROADCAST, ""));
    gateway.wait_live(BROADCAST);
    let (_proxy, page) = watch(&gateway, 1_000_000);
    let _ = page.wait("session.stats.video?.frameHeight === 180", RUN);
    let before = page.run("return session.stats");
    let _ = page.wait(&format!("session.stats.at > {} + 4000", before["at"]), RUN);
    let after = page.run("return session.stats");
    let count = |stats: &Value, name: &str| stats["video"][name].as_f64().unwrap_or_default();
    let seconds = (after["at"].as_f64().expect("a time") - before["at"].as_f64().expect("a time")) / 1e3;
    let rate = (count(&after, "framesDecoded") - count(&before, "framesDecoded")) / seconds;
    let link = link(&gateway);
    println!("{rate:.1} frames a second at height {}, {link}", height(&page));
    assert!(rate > 15.0 && height(&page) == 180, "{rate}: {link}");
    assert!(link["switches"].as_f64() >= Some(1.0), "{link}");
}
