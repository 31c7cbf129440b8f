//! A real OBS pushes RTMP. Its connection is cut, it comes back to its path, and whoever watched goes on watching.

use std::ffi::OsStr;
use std::time::Duration;

use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::Gateway;
use moqgate_tests::listing::{Ffmpeg, Lister, Sound, Stream};
use moqgate_tests::obs::{self, Obs};
use moqgate_tests::{media, peers, tools, wait};
use serde_json::Value;

use crate::RUN;

const BROADCAST: &str = "live/cam0";
/// How long viewers watch before the cut and after it; `MOQGATE_OBS_SECONDS` makes it longer.
const SECONDS: u32 = 4;
/// Pictures of a second.
const PICTURES: u32 = 30;
/// Pictures and frames of sound of a second.
const UNITS: u32 = PICTURES + 46;
/// A player stays so long without a publisher; OBS needs a second and what it takes to connect.
const PLAY_WAIT: &str = "8s";

#[test]
fn obs_comes_back_and_viewers_keep_watching() {
    if !tools::require(&["ffmpeg", "ffprobe", "moq"]) || !tools::require(&obs::TOOLS) {
        return;
    }
    let seconds = tools::seconds("MOQGATE_OBS_SECONDS", SECONDS);
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("moq.ts");
    let gateway = Gateway::start(&["--srt-play-wait", PLAY_WAIT, "--rtmp-play-wait", PLAY_WAIT]);
    let clip = Fixture::load("bframes").file();
    let server = gateway.rtmp_url("live");
    let mut encoder = Obs::start(&clip, &server, "cam0");
    gateway.wait_live(BROADCAST);

    let list = |url: &str, name| {
        Lister::start(Ffmpeg::Debian, Sound::Aac, &[], OsStr::new(url), folder.path(), name)
    };
    let mut rtmp = list(&gateway.rtmp_url(BROADCAST), "rtmp");
    let id = format!("#!::r={BROADCAST},m=request");
    let mut srt = list(&media::srt_url_with(gateway.srt(), &id, "&latency=500000"), "srt");
    let mut moq = peers::export_ts_lingering(&gateway.moq_url(), BROADCAST, &copy, RUN);
    let watched = |protocol| gateway.usage().egress(BROADCAST, protocol).frames;
    let wait_watched = |since: [u64; 3]| {
        for (protocol, before) in ["rtmp", "srt", "moq"].into_iter().zip(since) {
            let wanted = before + u64::from(seconds * UNITS);
            let limit = wait::SOON + Duration::from_secs(seconds.into());
            wait::until_true(&format!("{protocol} to be watched"), limit, || watched(protocol) > wanted);
        }
    };
    wait_watched([0; 3]);

    let first = publisher(&gateway).expect("it publishes");
    gateway.end_session(&first);
    let second =
        wait::until("OBS to come back", RUN, || publisher(&gateway).filter(|now| now["id"] != first["id"]));
    assert_eq!(second["path"], BROADCAST);
    wait_watched(["rtmp", "srt", "moq"].map(watched));
    assert_eq!((gateway.sessions("rtmp").len(), gateway.sessions("srt").len()), (2, 1), "nobody has left");

    assert!(encoder.process().is_running() && moq.is_running());
    drop(encoder);
    // Two in three: whoever joined late, or missed what OBS could not draw in time, has still watched.
    let least = (2 * seconds * PICTURES * 2 / 3) as usize;
    for (name, lister) in [("RTMP", &mut rtmp), ("SRT", &mut srt)] {
        let listing = lister.listing(RUN);
        check(name, &listing.video, least);
        check(name, &listing.audio, least);
        println!(
            "{name}: {} pictures, {} frames of sound",
            listing.video.frames.len(),
            listing.audio.frames.len()
        );
    }
}

fn publisher(gateway: &Gateway) -> Option<Value> {
    gateway.sessions("rtmp").into_iter().find(|session| session["direction"] == "publish")
}

/// Everything was decoded, and time never ran backwards.
fn check(name: &str, stream: &Stream, least: usize) {
    let backwards = stream.packets.windows(2).find(|pair| pair[1].dts < pair[0].dts);
    assert_eq!(backwards, None, "{name}");
    assert!(stream.frames.len() >= least, "{name}: {} frames, not {least}", stream.frames.len());
}
