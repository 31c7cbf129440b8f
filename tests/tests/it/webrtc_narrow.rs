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

/// A clip of 2 Mbit/s with a keyframe every second, and a rendition of 250 kbit/s beside it if that is wanted.
fn clip(folder: &Path, small: bool) -> PathBuf {
    let file = folder.join("clip.ts");
    let mut command = Command::new(tools::program("ffmpeg"));
    command.args(["-hide_banner", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=s=640x360:r=25"]);
    let filter = if small { "[n]split[a][b];[b]scale=320:180[c]" } else { "[n]copy[a]" };
    command.args(["-t", "8", "-filter_complex", &format!("[0:v]noise=alls=20:allf=t[n];{filter}")]);
    command.args(["-map", "[a]"]);
    if small {
        command.args(["-map", "[c]"]);
    }
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0"]);
    command.args(["-profile:v", "baseline", "-pix_fmt", "yuv420p", "-g", "25"]);
    for (stream, rate) in [("0", "2000k"), ("1", "250k")].into_iter().take(1 + usize::from(small)) {
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

/// What a viewer sees of a clip through 1 Mbit/s, from when `begun` holds: pictures a second, and its link.
fn through_narrow_link(small: bool, begun: &str) -> (f64, u64, Value) {
    let gateway = Gateway::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let clip = clip(folder.path(), small);
    let _encoder = media::push_forever(&clip, &media::srt_url(gateway.srt(), BROADCAST, ""));
    gateway.wait_live(BROADCAST);
    let (_proxy, page) = watch(&gateway, 1_000_000);
    let _ = page.wait(begun, RUN);
    let before = page.run("return session.stats");
    let _ = page.wait(&format!("session.stats.at > {} + 4000", before["at"]), RUN);
    let after = page.run("return session.stats");
    let count = |stats: &Value, name: &str| stats["video"][name].as_f64().unwrap_or_default();
    let seconds = (after["at"].as_f64().expect("a time") - before["at"].as_f64().expect("a time")) / 1e3;
    let rate = (count(&after, "framesDecoded") - count(&before, "framesDecoded")) / seconds;
    (rate, height(&page), link(&gateway))
}

/// The picture that the link does not carry becomes a smaller one, and plays on.
#[test]
fn a_narrow_link_gets_a_smaller_rendition() {
    if !tools::require(&["chromium", "chromedriver", "ffmpeg"]) {
        return;
    }
    let (rate, height, link) = through_narrow_link(true, "session.stats.video?.frameHeight === 180");
    println!("{rate:.1} frames a second at height {height}, {link}");
    assert!(rate > 15.0 && height == 180, "{rate}: {link}");
    assert!(link["switches"].as_f64() >= Some(1.0), "{link}");
}

/// Where there is only one, a part of each second is seen, and what is seen is never old.
#[test]
fn a_narrow_link_leaves_groups_out_where_there_is_nothing_smaller() {
    if !tools::require(&["chromium", "chromedriver", "ffmpeg"]) {
        return;
    }
    let (rate, height, link) = through_narrow_link(false, "session.stats.video?.framesDecoded > 10");
    println!("{rate:.1} frames a second at height {height}, {link}");
    // Half of what such a picture needs is its keyframes, of which the link carries one a second and little more.
    assert!(rate > 0.7 && height == 360, "{rate}: {link}");
    let estimate = link["estimate_kbps"].as_f64().expect("a number");
    assert!((300.0..1300.0).contains(&estimate) && link["skips"].as_f64() >= Some(1.0), "{link}");
}
