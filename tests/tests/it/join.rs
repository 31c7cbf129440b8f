//! Players that come in the middle: ffmpeg over RTMP and SRT, and GStreamer over both. Each begins with a keyframe, at
//! most one group of pictures old, and misses nothing from there on.

use std::ffi::OsStr;

use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::listing::{self, Ffmpeg, Lister, Listing, Sound};
use moqgate_tests::process::Process;
use moqgate_tests::{gstreamer, media, tools, wait};

use crate::RUN;

const BROADCAST: &str = "live/cam0";
/// Pictures of a group of the clip.
const GOP: usize = 30;
/// When players come: in the middle of the third group. A unit is a picture or a frame of sound.
const UNITS_BEFORE: u64 = 190;
/// Pictures of the clip, and all units of it.
const PICTURES: u64 = 300;
const UNITS: u64 = 768;
/// Pictures by which sound and pictures may be out of step at the moment at which they are counted.
const SLACK: usize = 8;

/// Publishes the clip, lets players come in the middle of it, and looks at what they saw.
fn check(
    names: [&str; 2],
    publish: impl FnOnce(&Gateway, &Fixture) -> Process,
    play: impl FnOnce(&Gateway) -> [Box<dyn FnOnce() -> Listing>; 2],
) {
    let gateway = Gateway::start(&["--srt-play-wait", "1s", "--rtmp-play-wait", "1s"]);
    let clip = Fixture::load("bframes");
    let mut publisher = publish(&gateway, &clip);
    let pictures = || {
        let rows = gateway.usage().usage;
        let units =
            rows.iter().filter(|row| row.path == BROADCAST).map(|row| row.ingress.frames).sum::<u64>();
        (units * PICTURES / UNITS) as usize
    };
    wait::until_true("the third group", wait::SOON, || pictures() as u64 > UNITS_BEFORE * PICTURES / UNITS);
    let before = pictures();
    let players = play(&gateway);
    wait::until_true("both players", wait::SOON, || {
        ["rtmp", "srt"].iter().all(|protocol| gateway.usage().egress(BROADCAST, protocol).frames > 0)
    });
    let after = pictures();
    assert!(publisher.wait(RUN).success());
    let source = listing::of_file(Ffmpeg::Debian, Sound::Aac, &clip.file());
    for (name, player) in names.into_iter().zip(players) {
        let seen = player();
        let first = &seen.video.frames[0];
        let began = source.video.frames.iter().position(|frame| frame == first);
        let began = began.unwrap_or_else(|| panic!("{name} begins with a picture that is not in the clip"));
        assert_eq!(began % GOP, 0, "{name} begins with picture {began}, no keyframe");
        assert!(
            began + GOP + SLACK > before && began <= after + SLACK,
            "{name} begins with picture {began}; {before} were there when it was started, {after} when it had begun"
        );
        assert_eq!(
            seen.video.frames[..],
            source.video.frames[began..],
            "{name}: from the first picture to the last"
        );
        assert!(seen.audio.frames.len() > seen.video.frames.len(), "{name}: sound");
    }
}

#[test]
fn ffmpeg_begins_with_the_newest_keyframe() {
    if !tools::require(&["ffmpeg", "ffprobe"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let list = |url: String, name| {
        let mut lister =
            Lister::start(Ffmpeg::Debian, Sound::Aac, &[], OsStr::new(&url), folder.path(), name);
        Box::new(move || lister.listing(RUN)) as Box<dyn FnOnce() -> Listing>
    };
    check(
        ["RTMP", "SRT"],
        |gateway, clip| media::push(&clip.file(), &media::srt_url(gateway.srt(), BROADCAST, ""), 1.0),
        |gateway| {
            let id = format!("#!::r={BROADCAST},m=request");
            let srt = media::srt_url_with(gateway.srt(), &id, "&latency=1000000");
            [list(gateway.rtmp_url(BROADCAST), "rtmp"), list(srt, "srt")]
        },
    );
}

fn gstreamer_plays(publish: impl FnOnce(&Gateway, &Fixture) -> Process) {
    if !tools::require(&["ffmpeg", "ffprobe", gstreamer::TOOL]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    check(["RTMP", "SRT"], publish, |gateway| {
        let (flv, ts) = (folder.path().join("rtmp.flv"), folder.path().join("srt.ts"));
        let rtmp = gstreamer::play_rtmp(&gateway.rtmp_url(BROADCAST), &flv);
        let srt = gstreamer::play_srt(gateway.srt(), BROADCAST, &ts);
        [(rtmp, flv), (srt, ts)].map(|(mut process, file)| {
            Box::new(move || {
                process.wait(RUN);
                listing::of_file(Ffmpeg::Debian, Sound::Aac, &file)
            }) as Box<dyn FnOnce() -> Listing>
        })
    });
}

#[test]
fn gstreamer_plays_what_gstreamer_pushes_over_rtmp() {
    gstreamer_plays(|gateway, clip| gstreamer::push_rtmp(&clip.file(), &gateway.rtmp_url(BROADCAST)));
}

#[test]
fn gstreamer_plays_what_gstreamer_pushes_over_srt() {
    gstreamer_plays(|gateway, clip| gstreamer::push_srt(&clip.file(), gateway.srt(), BROADCAST));
}
