//! A browser publishes and browsers watch, with nothing but what is built into them.

use std::process::Command;
use std::time::Duration;

use moqgate_tests::browser::Page;
use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::lossy::{Link, Proxy};
use moqgate_tests::process::Process;
use moqgate_tests::{http, media, peers, tools, wait};
use serde_json::Value;

use crate::RUN;

const TOOLS: [&str; 2] = ["chromium", "chromedriver"];
const BROADCAST: &str = "live/cam0";
/// Longer than any test, so that nothing is left out.
const KEEP_AGE: Duration = Duration::from_secs(60);

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

fn count(stats: &Value, name: &str) -> f64 {
    stats["video"][name].as_f64().unwrap_or_default()
}

/// How often `name` grew in a second.
fn rate(before: &Value, after: &Value, name: &str) -> f64 {
    let at = |stats: &Value| stats["at"].as_f64().expect("a time");
    (count(after, name) - count(before, name)) * 1e3 / (at(after) - at(before))
}

/// A muted element makes no sound that could be measured.
fn assert_heard(page: &Page) {
    let _ = page.run("element('video').muted = false");
    let _ = page.wait("session.stats.audio?.totalAudioEnergy > 0", wait::SOON);
}

/// Freezes that the machine's other work may cost a player and not the connection beside it.
const FREEZES_APART: f64 = 2.0;

/// The player gets the source's rate, and does as well as a direct connection from its browser to itself beside it, which
/// knows how busy the machine is.
#[test]
fn a_browser_publishes_and_another_one_watches() {
    if !tools::require(&TOOLS) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let publisher = publish(&gateway, "&fps=20");
    let live = gateway.wait_live(BROADCAST);
    assert_eq!(live["protocol"], "webrtc");
    let viewer = Page::studio(&gateway, BROADCAST);
    viewer.settle("studio.watch()");
    viewer.settle("studio.control()");
    let stats = |name: &str| viewer.settle(&format!("studio.stats('{name}')"));
    let both = || ["whep", "control"].map(stats);
    wait::until_true("pictures", RUN, || both().iter().all(|stats| count(stats, "framesDecoded") > 20.0));
    let (source, before) = (publisher.run("return session.stats"), both());
    let _ = viewer.run("studio.forget()");
    let _ = viewer.wait(&format!("studio.since() > {}000", tools::seconds("MOQGATE_WEBRTC_SECONDS", 5)), RUN);
    let (encoded, after) = (publisher.run("return session.stats"), both());
    let source = rate(&source, &encoded, "framesEncoded");
    let shown = rate(&before[0], &after[0], "framesDecoded");
    let grown = |name: &str| [0, 1].map(|at| count(&after[at], name) - count(&before[at], name));
    let (dropped, freezes) = (grown("framesDropped"), grown("freezeCount"));
    let frozen = grown("totalFreezesDuration").map(|seconds| (seconds * 100.0).round() / 100.0);
    println!(
        "{shown:.2} frames a second of {source:.2}, {} lost; through the gateway and beside it: {dropped:?} dropped, \
         {freezes:?} freezes, {frozen:?} s; dropped before: {}",
        grown("packetsLost")[0],
        count(&before[0], "framesDropped"),
    );
    assert!((shown / source - 1.0).abs() < 0.15, "{shown} frames a second of {source}");
    assert!(freezes[0] <= freezes[1] + FREEZES_APART, "{freezes:?}");
    assert!(dropped[0] <= dropped[1] + FREEZES_APART, "{dropped:?}");
    let _ = viewer.run("for (const video of document.querySelectorAll('video')) video.muted = false");
    wait::until_true("sound", wait::SOON, || stats("whep")["audio"]["totalAudioEnergy"].as_f64() > Some(0.0));
}

/// The released client gets picture and sound of a browser.
#[test]
fn the_released_client_receives_a_browser() {
    if !tools::require(&["chromium", "chromedriver", "moq", "ffmpeg"]) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("out.ts");
    let mut viewer = peers::export_ts(&gateway.moq_url(), BROADCAST, &file, KEEP_AGE);
    let publisher = publish(&gateway, "");
    wait::until_true("a file that grows", RUN, || {
        std::fs::metadata(&file).is_ok_and(|file| file.len() > 200_000)
    });
    drop(publisher);
    gateway.wait_gone(BROADCAST);
    assert!(viewer.wait(RUN).success());
    let content = media::content(&file);
    println!("{:?}", content.keys().collect::<Vec<_>>());
    assert_eq!(content.len(), 2, "a picture and a sound: {:?}", content.keys());
}

/// ffmpeg's WHIP muxer publishes, a browser watches.
#[test]
fn ffmpeg_publishes_with_whip() {
    if !tools::require(&["chromium", "chromedriver", tools::NEWER_FFMPEG]) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let mut command = Command::new(tools::program(tools::NEWER_FFMPEG));
    command.args([
        "-hide_banner",
        "-loglevel",
        "info",
        "-re",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=640x360:r=30",
    ]);
    command.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]);
    command.args([
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-tune",
        "zerolatency",
        "-profile:v",
        "baseline",
    ]);
    command.args(["-pix_fmt", "yuv420p", "-bf", "0", "-g", "60", "-b:v", "600k"]);
    command.args(["-c:a", "libopus", "-ac", "2", "-f", "whip"]);
    let _encoder =
        Process::start("ffmpeg", command.arg(format!("http://{}/whip/{BROADCAST}", gateway.http())));
    gateway.wait_live(BROADCAST);
    let viewer = watch(&gateway);
    let (before, after) = measure(&viewer, 5);
    assert!(count(&after, "framesDecoded") > count(&before, "framesDecoded") + 100.0, "{after:#}");
    assert_heard(&viewer);
}

/// A browser that cannot reach the port over UDP takes TCP, publishing and watching.
#[test]
fn tcp_is_taken_where_udp_does_not_pass() {
    if !tools::require(&TOOLS) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let _publisher = publish(&gateway, "&tcp");
    gateway.wait_live(BROADCAST);
    let viewer = Page::visit(&format!("http://{}/watch/{BROADCAST}?tcp", gateway.http()));
    let (before, after) = measure(&viewer, 3);
    assert!(count(&after, "framesDecoded") > count(&before, "framesDecoded") + 30.0, "{after:#}");
    let way = "return session.stats.candidates[session.stats.pair.remoteCandidateId].protocol";
    assert_eq!(viewer.run(way), "tcp");
}

/// What came in over SRT or RTMP with H.264 and AAC is seen and heard.
fn watch_aac(protocol: &str) {
    if !tools::require(&["chromium", "chromedriver", "ffmpeg"]) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let clip = Fixture::load("plain").file();
    let _encoder = match protocol {
        "srt" => media::push_forever(&clip, &media::srt_url(gateway.srt(), BROADCAST, "")),
        _ => media::push_forever_rtmp(&clip, &gateway.rtmp_url(BROADCAST)),
    };
    gateway.wait_live(BROADCAST);
    let viewer = watch(&gateway);
    let (before, after) = measure(&viewer, 5);
    assert!(count(&after, "framesDecoded") > count(&before, "framesDecoded") + 100.0, "{after:#}");
    assert_heard(&viewer);
    let session = &gateway.sessions("webrtc")[0];
    assert_eq!(session["link"]["audio_transcoded"], 1.0, "{session:#}");
    let usage = gateway.usage();
    let row = |tier: &str| {
        let mut rows = usage.usage.iter().filter(|row| row.path == BROADCAST && row.protocol == "webrtc");
        rows.find(|row| row.tier == tier).cloned().unwrap_or_else(|| panic!("no row of tier {tier:?}"))
    };
    let (viewer, work) = (row(""), row("transcode"));
    assert!(viewer.ingress.frames == 0 && viewer.egress.frames > work.ingress.frames, "{viewer:?} {work:?}");
    assert!(work.egress.bytes > 0 && work.ingress.frames > 0, "{work:?}");
    assert_eq!(gateway.broadcast(BROADCAST).expect("it is live")["viewers"], 1);
}

#[test]
fn an_srt_push_is_seen_and_heard() {
    watch_aac("srt");
}

#[test]
fn an_rtmp_push_is_seen_and_heard() {
    watch_aac("rtmp");
}

/// Gauges close when the tabs are gone, and what was charged out is what was charged in, once for each viewer.
#[test]
fn usage_closes_with_the_tabs() {
    if !tools::require(&TOOLS) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let publisher = publish(&gateway, "");
    gateway.wait_live(BROADCAST);
    let viewer = watch(&gateway);
    let _ = measure(&viewer, 2);
    let usage = gateway.usage();
    let (ingress, egress) = (usage.ingress(BROADCAST, "webrtc"), usage.egress(BROADCAST, "webrtc"));
    assert_eq!((ingress.active.live(), egress.active.live()), (1, 1));
    assert!(egress.frames > 0 && egress.frames <= ingress.frames, "{egress:?} of {ingress:?}");
    drop((viewer, publisher));
    wait::until_true("the gauges to close", RUN, || {
        let usage = gateway.usage();
        let (ingress, egress) = (usage.ingress(BROADCAST, "webrtc"), usage.egress(BROADCAST, "webrtc"));
        ingress.active.live() + egress.active.live() + ingress.announced.live() + egress.subscriptions.live()
            == 0
    });
    assert!(gateway.sessions("webrtc").is_empty());
}

/// Notes each freeze of the picture, in seconds, and the longest time for which the page itself stood still.
const NOTE_FREEZES: &str = "
    window.freezes = [];
    window.stall = 0;
    let last = null, at = performance.now();
    setInterval(async () => {
        const now = performance.now();
        window.stall = Math.max(window.stall, (now - at) / 1000 - 0.2);
        at = now;
        for (const report of (await session.connection.getStats()).values()) {
            if (report.type !== 'inbound-rtp' || report.kind !== 'video') continue;
            const { freezeCount, totalFreezesDuration } = report;
            if (last && freezeCount > last.freezeCount) freezes.push(totalFreezesDuration - last.totalFreezesDuration);
            last = report;
        }
    }, 200);";
/// The longest that one picture may stand for packets that were lost, in seconds.
const FREEZE_MAX: f64 = 1.0;

/// A link that loses packets costs neither a freeze that lasts nor more than a second to come back.
fn lossy(percent: f64) -> String {
    if !tools::require(&TOOLS) {
        return "skipped".to_owned();
    }
    let gateway = Gateway::start(&[]);
    let (delay_min, delay_max) = (Duration::from_millis(5), Duration::from_millis(8));
    let link = Link { loss_per_mille: (percent * 10.0) as u64, delay_min, delay_max, seed: 7 };
    let (up, down) = (Proxy::start(gateway.webrtc(), link), Proxy::start(gateway.webrtc(), link));
    let _publisher = publish(&gateway, &format!("&via={}", up.address().port()));
    gateway.wait_live(BROADCAST);
    let url = format!("http://{}/watch/{BROADCAST}?via={}", gateway.http(), down.address().port());
    let viewer = Page::visit(&url);
    let _ = viewer.wait("session.stats.video?.framesDecoded > 0", RUN);
    let _ = viewer.run(NOTE_FREEZES);
    let (before, after) = measure(&viewer, tools::seconds("MOQGATE_WEBRTC_LOSS_SECONDS", 8));
    let rate = rate(&before, &after, "framesDecoded");
    let freezes: Vec<f64> = serde_json::from_value(viewer.run("return freezes")).expect("numbers");
    let longest = freezes.iter().copied().fold(0.0, f64::max);
    let stall = viewer.run("return stall").as_f64().expect("a number").max(0.0);
    let metrics = http::get(gateway.http(), "/metrics").expect("an answer").text();
    let metric = |name: &str| -> u64 {
        let value = metrics.lines().find_map(|line| line.strip_prefix(&format!("moqgate_webrtc_{name} ")));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no metric {name}"))
    };
    let asked = metric("feedback_total{kind=\"nack\"}");
    let (nacks, plis) =
        (metric("feedback_sent_total{kind=\"nack\"}"), metric("feedback_sent_total{kind=\"pli\"}"));
    let sent_by_player = viewer.run_async(
        "session.connection.getStats().then((reports) => done([...reports.values()]\
            .find(({ type, kind }) => type === 'inbound-rtp' && kind === 'video').nackCount))",
    );
    let sent_by_player = sent_by_player.as_u64().expect("a count");
    let summary = format!(
        "{percent} %: {rate:.1} frames a second, {} freezes, the longest of {longest:.2} s (the page of {stall:.2} s), \
         NACKs: {nacks} sent, {asked} of {sent_by_player} received, {} packets resent, PLIs: {plis} sent, {} received",
        freezes.len(),
        metric("rtp_resent_total"),
        metric("feedback_total{kind=\"pli\"}"),
    );
    // What is lost is asked for and sent again, in both directions, and what the player has asked for is counted, as far
    // as it was not lost itself.
    assert!(nacks > 0 && asked > 0 && metric("rtp_resent_total") > 0, "{summary}");
    assert!(asked <= sent_by_player && asked > sent_by_player / 2, "{summary}");
    assert!(rate > 10.0, "{summary}");
    assert!(longest <= FREEZE_MAX + stall, "{summary}");
    summary
}

/// What is lost is asked for and sent again, in both directions.
#[test]
fn line_70_one_percent_of_loss_is_mended() {
    println!("{}", lossy(1.0));
}

#[test]
fn line_70_five_percent_of_loss_is_mended() {
    println!("{}", lossy(5.0));
}

/// Chromium drops nearly all pictures that are decoded in another order than shown, so they are refused, in words.
#[test]
fn b_frames_are_refused_with_the_reason() {
    if !tools::require(&["chromium", "chromedriver", "ffmpeg"]) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let clip = Fixture::load("bframes").file();
    let _encoder = media::push_forever(&clip, &media::srt_url(gateway.srt(), BROADCAST, ""));
    gateway.wait_live(BROADCAST);
    let viewer = watch(&gateway);
    let _ = viewer.wait("session.state === 'failed'", RUN);
    let error = viewer.run("return session.error");
    assert!(
        error.as_str().is_some_and(|error| error.starts_with("406: the picture has B-frames")),
        "{error}"
    );
}

/// Every layer of a simulcast is a rendition of its own.
#[test]
fn simulcast_layers_are_renditions() {
    if !tools::require(&TOOLS) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let url = format!(
        "http://{}/publish/{BROADCAST}?auto=1&width=1280&height=720&codec=VP8&simulcast=1",
        gateway.http()
    );
    let page = Page::visit(&url);
    let _ = page.wait("session.state === 'connected' || session.error", RUN);
    let widths = wait::until("two renditions", wait::SOON, || {
        let entry = gateway.broadcast(BROADCAST)?;
        let tracks = entry["tracks"].as_array()?.iter();
        let widths: Vec<_> = tracks.filter_map(|track| track["width"].as_u64()).collect();
        (widths.len() > 1).then_some(widths)
    });
    assert!(widths.windows(2).any(|pair| pair[0] != pair[1]), "{widths:?}");
}

/// A player whose way has changed restarts ICE with a PATCH and goes on watching in the same session.
#[test]
fn a_player_restarts_ice() {
    if !tools::require(&TOOLS) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let _publisher = publish(&gateway, "");
    gateway.wait_live(BROADCAST);
    let viewer = watch(&gateway);
    let _ = measure(&viewer, 1);
    let tag = viewer.run("return session.tag");
    let restarted =
        viewer.run_async("restart().then(() => done('restarted'), (error) => done(String(error)))");
    assert_eq!(restarted, "restarted");
    assert_ne!(viewer.run("return session.tag"), tag);
    let (before, after) = measure(&viewer, 3);
    assert!(count(&after, "framesDecoded") > count(&before, "framesDecoded") + 30.0, "{after:#}");
    assert_eq!(gateway.sessions("webrtc").len(), 2);
}
