//! What is billed is what the clip holds, whoever carried it; and every gauge closes.

use moqgate_tests::browser::Page;
use moqgate_tests::fixture::{Fixture, Payload};
use moqgate_tests::gateway::Gateway;
use moqgate_tests::process::Process;
use moqgate_tests::usage::{Counters, Gauge};
use moqgate_tests::{media, peers, tools, wait};
use serde_json::Value;

use crate::{KEEP, RUN, WHOLE};

const BROADCAST: &str = "live/cam0";

/// What one viewer has got, counted in its browser.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    /// Tracks with pictures or sound.
    media: Payload,
    /// The catalog and whatever else the broadcast carries.
    other: Payload,
    /// The earliest timestamp of any media frame, in microseconds.
    first: u64,
}

impl Seen {
    fn read(viewer: &Value) -> Self {
        assert_eq!(viewer["error"], Value::Null);
        let mut seen = Self { first: u64::MAX, ..Self::default() };
        for (name, track) in viewer["tracks"].as_object().expect("tracks") {
            assert_eq!(track["broken"], serde_json::json!([]), "{name}");
            let is_media = name.ends_with(".avc3") || name.ends_with(".aac");
            let sum = if is_media { &mut seen.media } else { &mut seen.other };
            sum.groups += u64::try_from(track["groups"].as_array().expect("groups").len()).expect("few");
            sum.frames += track["frames"].as_u64().expect("a count");
            sum.bytes += track["bytes"].as_u64().expect("a count");
            if is_media {
                seen.first = seen.first.min(track["first"].as_u64().expect("a timestamp"));
            }
        }
        seen
    }

    fn all(&self) -> Payload {
        let Self { media, other, .. } = self;
        Payload {
            groups: media.groups + other.groups,
            frames: media.frames + other.frames,
            bytes: media.bytes + other.bytes,
        }
    }
}

fn payload(counters: Counters) -> Payload {
    Payload { groups: counters.groups, frames: counters.frames, bytes: counters.bytes }
}

fn times(payload: Payload, count: u64) -> Payload {
    Payload { groups: payload.groups * count, frames: payload.frames * count, bytes: payload.bytes * count }
}

/// Two viewers in a browser see all of the clip. The media they got, the media that was charged and the media in the
/// clip's own manifest are one number; what lies beside it (the catalog) is as many bytes as the viewers read.
fn check(protocol: &str, publish: impl FnOnce(&Gateway, &Fixture) -> Process) {
    if !tools::require(&["ffmpeg", "moq", "chromium", "chromedriver"]) {
        return;
    }
    let clip = Fixture::load("bframes");
    let gateway = Gateway::start(&KEEP);
    let query = format!("url={}&name={BROADCAST}&viewers=2&age=60000&start=0", gateway.moq_url());
    let page = Page::open("groups", &query);
    let _ = page.wait("all('waiting')", RUN);
    let mut publisher = publish(&gateway, &clip);
    assert!(publisher.wait(RUN).success());
    let _ = page.wait("all('ended')", RUN);
    gateway.wait_gone(BROADCAST);
    let viewers = page.run("return viewers");
    let viewers: Vec<Seen> = viewers.as_array().expect("viewers").iter().map(Seen::read).collect();
    assert_eq!(viewers[0], viewers[1]);
    let usage = gateway.usage();
    let (ingress, egress) = (usage.ingress(BROADCAST, protocol), usage.egress(BROADCAST, "moq"));
    let media = clip.payload(clip.first_pts(), viewers[0].first);
    assert_eq!(viewers[0].media, media, "the media that a viewer got and the media of the clip");
    assert_eq!(payload(ingress), viewers[0].all(), "what was charged in and what a viewer got");
    assert_eq!(payload(egress), times(payload(ingress), 2), "what was charged out, to two viewers");
    assert_eq!((ingress.fetches, ingress.datagrams, egress.fetches, egress.datagrams), (0, 0, 0, 0));
    assert_eq!((ingress.active, ingress.announced), (ONE_CLOSED, ONE_CLOSED));
    drop(page);
    wait::until_true("the viewers to be gone", wait::SOON, || {
        let egress = gateway.usage().egress(BROADCAST, "moq");
        egress.active.live() == 0 && egress.subscriptions.live() == 0 && egress.announced.live() == 0
    });
    assert_eq!(gateway.usage().egress(BROADCAST, "moq").active.opened, 2);
}

const ONE_CLOSED: Gauge = Gauge { opened: 1, closed: 1 };

#[test]
fn srt_is_charged_what_the_clip_holds() {
    check("srt", |gateway, clip| {
        media::push(&clip.file(), &media::srt_url(gateway.srt(), BROADCAST, ""), 2.0)
    });
}

#[test]
fn a_native_publisher_is_charged_by_the_same_rule() {
    check("moq", |gateway, clip| peers::import_ts(&gateway.moq_url(), BROADCAST, &clip.file(), 2.0));
}

#[test]
fn gauges_close_when_the_encoder_is_killed() {
    if !tools::require(&["ffmpeg"]) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let clip = Fixture::load("bframes");
    let mut encoder = media::push_forever(&clip.file(), &media::srt_url(gateway.srt(), BROADCAST, ""));
    gateway.wait_live(BROADCAST);
    let live = gateway.usage().ingress(BROADCAST, "srt");
    assert_eq!((live.active.live(), live.announced.live()), (1, 1));
    encoder.kill();
    wait::until_true("the encoder's gauges", RUN, || {
        let ingress = gateway.usage().ingress(BROADCAST, "srt");
        (ingress.active, ingress.announced) == (ONE_CLOSED, ONE_CLOSED)
    });
    wait::until_true("the encoder's session", RUN, || gateway.sessions("srt").is_empty());
    gateway.wait_gone(BROADCAST);
}

#[test]
fn gauges_close_when_the_viewer_is_killed() {
    if !tools::require(&["ffmpeg", "moq"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(&[]);
    let clip = Fixture::load("bframes");
    let _encoder = media::push_forever(&clip.file(), &media::srt_url(gateway.srt(), BROADCAST, ""));
    gateway.wait_live(BROADCAST);
    let mut viewer = peers::export_ts(&gateway.moq_url(), BROADCAST, &folder.path().join("copy.ts"), WHOLE);
    let egress = || gateway.usage().egress(BROADCAST, "moq");
    wait::until_true("the viewer to be counted", wait::SOON, || {
        egress().active.live() == 1 && egress().bytes > 0
    });
    viewer.kill();
    wait::until_true("the viewer's gauges", RUN, || {
        let egress = egress();
        egress.active == ONE_CLOSED && egress.subscriptions.live() == 0 && egress.announced.live() == 0
    });
    wait::until_true("the viewer's session", RUN, || gateway.sessions("moq").is_empty());
    assert_eq!(gateway.usage().ingress(BROADCAST, "srt").active.live(), 1, "the encoder goes on");
}
