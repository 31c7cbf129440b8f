//! Viewers over WHEP whose link is narrower than what they watch.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use moqgate_tests::browser::Page;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::lossy::{Link, Narrow, Proxy};
use moqgate_tests::{media, tools, wait};
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

/// A viewer through a link that carries `rate` bits per second.
fn watch(gateway: &Gateway, rate: u64) -> (Proxy, Page) {
    let delay = Duration::from_millis(10);
    let link = Link { loss_per_mille: 0, delay_min: delay, delay_max: delay, seed: 7 };
    let narrow = Narrow { rate, queue: Duration::from_millis(300) };
    let proxy = Proxy::narrow(gateway.webrtc(), link, Some(narrow));
    let url = format!("http://{}/watch/{BROADCAST}?via={}", gateway.http(), proxy.address().port());
    (proxy, Page::visit(&url))
}

/// What the viewer's session measures, once there is one.
fn link(gateway: &Gateway) -> Option<Value> {
    let sessions = gateway.sessions("webrtc");
    let viewer = sessions.into_iter().find(|session| session["direction"] == "subscribe");
    viewer.map(|session| session["link"].clone())
}

fn decoded(page: &Page) -> f64 {
    page.run("return session.stats.video?.framesDecoded").as_f64().unwrap_or_default()
}

/// The picture that the link does not carry becomes a smaller one, and plays on.
#[test]
fn a_narrow_link_gets_a_smaller_rendition() {
    if !tools::require(&["chromium", "chromedriver", "ffmpeg"]) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let clip = clip(folder.path(), true);
    let _encoder = media::push_forever(&clip, &media::srt_url(gateway.srt(), BROADCAST, ""));
    gateway.wait_live(BROADCAST);
    let (_proxy, page) = watch(&gateway, 1_000_000);
    let _ = page.wait("session.stats.video?.frameHeight === 180", RUN);
    let (begun, at) = (decoded(&page), Instant::now());
    let _ = page.wait(&format!("session.stats.video.framesDecoded > {begun} + 60"), RUN);
    let (seconds, link) = (at.elapsed().as_secs_f64(), link(&gateway).expect("a viewer"));
    println!("60 pictures in {seconds:.1} s, {link}");
    assert!(link["switches"].as_f64() >= Some(1.0), "{link}");
}

/// Where there is only one, parts of it are left out, and what is lost is not sent again without end.
#[test]
fn a_narrow_link_leaves_groups_out_where_there_is_nothing_smaller() {
    if !tools::require(&["chromium", "chromedriver", "ffmpeg"]) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let clip = clip(folder.path(), false);
    let _encoder = media::push_forever(&clip, &media::srt_url(gateway.srt(), BROADCAST, ""));
    gateway.wait_live(BROADCAST);
    let (_proxy, page) = watch(&gateway, 1_000_000);
    // 80 % of what the picture needs, or less, is what a player is held to.
    let skipped = wait::until("groups that are left out for the link's sake", RUN, || {
        let link = link(&gateway)?;
        let short = link["estimate_kbps"].as_f64()? < 1700.0;
        (short && link["skips"].as_f64() >= Some(2.0)).then_some(link)
    });
    let begun = decoded(&page);
    let _ = page.wait(&format!("session.stats.video?.framesDecoded > {begun} + 5"), RUN);
    println!("{skipped}, then {:?}", link(&gateway));
}
