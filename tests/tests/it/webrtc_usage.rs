//! What is charged for WHIP and WHEP is what browsers, ffmpeg and aiortc have sent and got, to the byte.

use moqgate_tests::aiortc;
use moqgate_tests::browser::Page;
use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::process::Process;
use moqgate_tests::usage::{Counters, Gauge};
use moqgate_tests::{http, media, peers, tools, wait};
use serde_json::Value;

use crate::RUN;

const BROADCAST: &str = "live/cam0";
/// What the time of a frame takes of its payload in the first quarter of an hour of a broadcast: a QUIC varint of
/// microseconds, below 2^30 and of at least two seconds.
const STAMP: u64 = 4;
/// What a delimiter takes of an H.264 access unit: a start code and two bytes. RTP carries none.
const DELIMITER: u64 = 6;

/// Frames that a goodbye may overtake, of each kind: half a second of sound.
const LAST_MOMENT: usize = 25;

/// Frames and their bytes, as a client counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Media {
    frames: u64,
    bytes: u64,
}

impl Media {
    fn of(parts: [(u64, u64); 2]) -> Self {
        Self { frames: parts[0].0 + parts[1].0, bytes: parts[0].1 + parts[1].1 }
    }

    /// What the page has counted of `role`.
    fn in_page(counts: &Value, role: &str) -> Self {
        let count =
            |kind: &str, name: &str| counts[format!("{role}.{kind}")][name].as_u64().expect("a count");
        Self::of(["video", "audio"].map(|kind| (count(kind, "frames"), count(kind, "bytes"))))
    }

    fn in_aiortc(process: &Process) -> Self {
        let counts = aiortc::counts(process);
        Self::of([counts.picture, counts.sound])
    }

    /// What is charged for it and for one catalog: the media's bytes, the time of each frame, and that.
    fn charged(self, catalog: usize) -> Self {
        Self { frames: self.frames + 1, bytes: self.bytes + STAMP * self.frames + catalog as u64 }
    }
}

impl From<Counters> for Media {
    fn from(Counters { frames, bytes, .. }: Counters) -> Self {
        Self { frames, bytes }
    }
}

fn charged_in(gateway: &Gateway) -> Media {
    gateway.usage().ingress(BROADCAST, "webrtc").into()
}

fn charged_out(gateway: &Gateway) -> Media {
    gateway.usage().egress(BROADCAST, "webrtc").into()
}

/// Waits until both sides agree, and says by how much they do not.
#[track_caller]
fn assert_agree(what: &str, charged: impl Fn() -> Media, counted: impl Fn() -> Media) {
    let deadline = std::time::Instant::now() + wait::SOON;
    let sides = wait::until(what, wait::SOON * 2, || {
        let sides = (charged(), counted());
        (sides.0 == sides.1 || std::time::Instant::now() > deadline).then_some(sides)
    });
    assert_eq!(sides.0, sides.1, "{what}: charged, and what the client has counted");
}

fn catalog_bytes(gateway: &Gateway) -> usize {
    peers::fetch(&gateway.moq_url(), BROADCAST, "catalog.json").len()
}

fn endpoint(gateway: &Gateway, role: &str) -> String {
    format!("http://{}/{role}/{BROADCAST}", gateway.http())
}

/// How many connections have come up on the gateway's side.
fn connections(gateway: &Gateway) -> u64 {
    let metrics = http::get(gateway.http(), "/metrics").expect("an answer").text();
    let value = metrics.lines().find_map(|line| line.strip_prefix("moqgate_webrtc_connected_total "));
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}

/// What a browser's encoders gave to its packetisers, and what its depacketisers gave to its decoders.
fn check_browser(codec: &str) {
    if !tools::require(&["chromium", "chromedriver", "moq"]) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let page = Page::studio(&gateway, BROADCAST);
    page.settle(&format!("studio.publish({{ codec: '{codec}', frameRate: 15, counted: true }})"));
    wait::until_true("the gateway's side of the connection", wait::SOON, || connections(&gateway) == 1);
    page.settle("studio.begin()");
    gateway.wait_live(BROADCAST);
    page.settle(&format!("studio.watch({{ codec: '{codec}', counted: true }})"));
    let enough = "studio.counts['whep.video'].frames > 30 && studio.counts['whep.audio'].frames > 60";
    let _ = page.wait(enough, RUN);
    let catalog = catalog_bytes(&gateway);
    let counts = page.settle("studio.mute()");
    let sent = Media::in_page(&counts, "whip").charged(catalog);
    assert_agree(&format!("{codec} of a browser, in"), || charged_in(&gateway), || sent);
    let seen = || Media::in_page(&page.run("return studio.counts"), "whep").charged(catalog);
    assert_agree(&format!("{codec} of a browser, out"), || charged_out(&gateway), seen);
    let count = |of: &str, name: &str| counts[of][name].as_u64().expect("a count");
    let groups = 1 + count("whip.video", "keys") + count("whip.audio", "frames");
    let charged = gateway.usage().ingress(BROADCAST, "webrtc").groups;
    assert_eq!(charged, groups, "a catalog, a group per keyframe, and one per sound");
}

#[test]
fn a_browser_with_h264_is_charged_what_it_sent_and_got() {
    check_browser("H264");
}

#[test]
fn a_browser_with_vp8_is_charged_what_it_sent_and_got() {
    check_browser("VP8");
}

/// ffmpeg's WHIP muxer sends a clip, whose access units are known.
#[test]
fn ffmpeg_is_charged_what_the_clip_holds() {
    if !tools::require(&["ffmpeg", "python3", "moq", tools::NEWER_FFMPEG]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("clip.ts");
    media::with_opus(&Fixture::load("plain").file(), &file);
    let clip = Fixture::of(&file);
    let gateway = Gateway::start(&[]);
    let catalog = std::thread::scope(|scope| {
        let catalog = scope.spawn(|| catalog_bytes(&gateway));
        wait::until_true("who asks for the catalog", wait::SOON, || gateway.sessions("moq").len() == 1);
        let mut encoder = media::push_whip(&file, &endpoint(&gateway, "whip"));
        assert!(encoder.wait(RUN).success());
        catalog.join().expect("a catalog")
    });
    gateway.wait_gone(BROADCAST);
    let charged = gateway.usage().ingress(BROADCAST, "webrtc");
    // A gateway that has no processor for 200 ms misses what ffmpeg sent last before its goodbye, which comes another way.
    let (pictures, sounds) = (clip.sizes("h264"), clip.sizes("opus"));
    let whole = clip.payload(clip.first_pts(), 0).groups + 1;
    let heard = sounds.len() - usize::try_from(whole - charged.groups).expect("few");
    let shown = usize::try_from(charged.frames).expect("few") - 1 - heard;
    assert!(heard + LAST_MOMENT >= sounds.len() && shown + LAST_MOMENT >= pictures.len(), "{charged:?}");
    let sum = |sizes: &[u64]| (sizes.len() as u64, sizes.iter().sum::<u64>());
    let mut units = sum(&pictures[..shown]);
    units.1 -= DELIMITER * units.0;
    let sent = Media::of([units, sum(&sounds[..heard])]).charged(catalog);
    assert_eq!(Media::from(charged), sent, "charged, and what the clip holds");
}

/// Another WebRTC publishes and watches.
fn check_aiortc(codec: &str) {
    if !tools::require(&[tools::AIORTC, "moq"]) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let mut publisher = aiortc::publish(&endpoint(&gateway, "whip"), codec);
    wait::until_true("a picture", RUN, || aiortc::counts(&publisher).picture.0 > 0);
    gateway.wait_live(BROADCAST);
    let mut viewer = aiortc::watch(&endpoint(&gateway, "whep"));
    wait::until_true("pictures and sound", RUN, || {
        let counts = aiortc::counts(&viewer);
        counts.picture.0 > 60 && counts.sound.0 > 60
    });
    let catalog = catalog_bytes(&gateway);
    publisher.terminate();
    wait::until_true("the end of the media", wait::SOON, || aiortc::counts(&publisher).done);
    let sent = || Media::in_aiortc(&publisher).charged(catalog);
    assert_agree(&format!("{codec} of aiortc, in"), || charged_in(&gateway), sent);
    let seen = || Media::in_aiortc(&viewer).charged(catalog);
    assert_agree(&format!("{codec} of aiortc, out"), || charged_out(&gateway), seen);
    viewer.terminate();
    assert!(viewer.wait(wait::SOON).success());
    publisher.terminate();
    assert!(publisher.wait(wait::SOON).success());
    wait::until_true("the sessions to end", wait::SOON, || gateway.sessions("webrtc").is_empty());
}

#[test]
fn aiortc_with_vp8_is_charged_what_it_sent_and_got() {
    check_aiortc("VP8");
}

#[test]
fn aiortc_with_h264_is_charged_what_it_sent_and_got() {
    check_aiortc("H264");
}

/// Browsers that are killed say no goodbye: their silence closes what they have opened, and what they used stays.
#[test]
fn gauges_close_when_the_tabs_are_killed() {
    const OTHER: &str = "live/cam1";
    const ONE_CLOSED: Gauge = Gauge { opened: 1, closed: 1 };
    if !tools::require(&["chromium", "chromedriver", "ffmpeg"]) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let _encoder = media::push_forever_rtmp(&Fixture::load("plain").file(), &gateway.rtmp_url(OTHER));
    let (publisher, viewer) = (Page::studio(&gateway, BROADCAST), Page::studio(&gateway, OTHER));
    publisher.settle("studio.publish()");
    gateway.wait_live(BROADCAST);
    gateway.wait_live(OTHER);
    viewer.settle("studio.watch()");
    let ingress = || gateway.usage().ingress(BROADCAST, "webrtc");
    let egress = || gateway.usage().egress(OTHER, "webrtc");
    wait::until_true("the publisher's bytes", wait::SOON, || ingress().bytes > 10_000);
    wait::until_true("the viewer's bytes", wait::SOON, || egress().bytes > 10_000);
    assert_eq!((ingress().active.live(), egress().active.live()), (1, 1));
    assert_eq!(gateway.broadcast(OTHER).expect("it is live")["viewers"], 1);
    viewer.kill();
    publisher.kill();
    wait::until_true("the sessions to end", RUN, || gateway.sessions("webrtc").is_empty());
    gateway.wait_gone(BROADCAST);
    let last = (ingress(), egress());
    assert_eq!((last.0.active, last.0.announced), (ONE_CLOSED, ONE_CLOSED));
    assert_eq!((last.1.active, last.1.announced), (ONE_CLOSED, ONE_CLOSED));
    assert_eq!(last.1.subscriptions.live(), 0);
    assert_eq!(gateway.broadcast(OTHER).expect("the encoder goes on")["viewers"], 0);
    let report = gateway.usage();
    let sessions = report.sessions.iter().find(|sessions| sessions.protocol == "webrtc");
    assert_eq!(sessions.map(|sessions| sessions.gauge), Some(Gauge { opened: 2, closed: 2 }));
    assert_eq!((ingress(), egress()), last, "the rows are final");
    assert_eq!(gateway.log().lines().iter().filter(|line| line.contains("end=\"gone\"")).count(), 2);
}
