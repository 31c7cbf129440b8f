//! Real encoders: ffmpeg 5.1, and a newer one with enhanced RTMP.

use std::path::PathBuf;

use moqgate_core::{Admission, AdmissionFuture, Denied, DenyReason, OpenAdmission, Request};
use moqgate_rtmp::Config;

use crate::bench::Bench;
use crate::tools::{new_ffmpeg, play, push, run, system_ffmpeg};

const H264_AAC: &str = "-c:v libx264 -preset ultrafast -g 25 -bf 0 -c:a aac";

/// Two seconds of video and sound.
async fn plays(bench: &Bench, path: &str, codecs: &[&str]) {
    bench
        .until(path, |bench| {
            let known = bench.codecs(path);
            known.len() == codecs.len()
                && known.iter().zip(codecs).all(|(known, codec)| known.starts_with(codec))
                && bench.ingress(path).frames > 150
        })
        .await;
}

#[tokio::test]
async fn ffmpeg_pushes_and_leaves() {
    let Some(ffmpeg) = system_ffmpeg() else { return };
    let bench = Bench::start();
    let encoder = push(&ffmpeg, &format!("{H264_AAC} -t 4"), &bench.url("live/cam0?token=abc"));
    plays(&bench, "live/cam0", &["avc3.", "mp4a.40.2"]).await;
    let output = encoder.output().await;
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    bench.until("the path is free", |bench| bench.broadcast("live/cam0").is_none()).await;
    // Four seconds at 25 pictures, and of AAC at 46.875 frames.
    let ingress = bench.ingress("live/cam0");
    assert!((285..=292).contains(&ingress.frames), "{ingress:?}");
    for kind in ["chunk_stream", "command", "order", "flood"] {
        assert_eq!(bench.sample("moqgate_rtmp_failed_total", kind), 0);
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_killed_ffmpeg_frees_its_path() {
    let Some(ffmpeg) = system_ffmpeg() else { return };
    let bench = Bench::start();
    let encoder = push(&ffmpeg, H264_AAC, &bench.url("a/b/c"));
    plays(&bench, "a/b/c", &["avc3.", "mp4a."]).await;
    drop(encoder);
    bench.until("the path is free", |bench| bench.broadcast("a/b/c").is_none()).await;
    bench.stop().await;
}

#[tokio::test]
async fn line_36_ffmpeg_crosses_24_bits_of_time() {
    let Some(ffmpeg) = system_ffmpeg() else { return };
    let bench = Bench::start();
    // 16,777,216 ms are in the first second.
    let codecs = format!("{H264_AAC} -output_ts_offset 16776.5 -rtmp_buffer 100");
    let _encoder = push(&ffmpeg, &codecs, &bench.url("live/cam0"));
    plays(&bench, "live/cam0", &["avc3.", "mp4a."]).await;
    assert_eq!(bench.sample("moqgate_rtmp_failed_total", "chunk_stream"), 0);
    bench.stop().await;
}

#[tokio::test]
async fn the_newer_ffmpeg_pushes_every_codec() {
    let Some(ffmpeg) = new_ffmpeg() else { return };
    let bench = Bench::start();
    for (path, codecs, expected) in [
        ("live/h264", H264_AAC, ["avc3.", "mp4a.40.2"]),
        (
            "live/h265",
            "-c:v libx265 -preset ultrafast -x265-params log-level=error -g 25 -c:a aac",
            ["hev1.", "mp4a."],
        ),
        ("live/av1", "-c:v libsvtav1 -preset 12 -svtav1-params lp=1 -g 25 -c:a libopus", ["av01.", "opus"]),
    ] {
        let encoder = push(&ffmpeg, codecs, &bench.url(path));
        plays(&bench, path, &expected).await;
        drop(encoder);
    }
    bench.stop().await;
}

#[tokio::test]
async fn ffmpeg_plays_what_ffmpeg_pushes() {
    let Some(ffmpeg) = system_ffmpeg() else { return };
    let bench = Bench::start();
    // The player comes first, and waits.
    let first = play(&ffmpeg, "", &bench.url("live/cam0"));
    let bframes = "-c:v libx264 -preset ultrafast -g 25 -bf 2 -c:a aac";
    let _encoder = push(&ffmpeg, bframes, &bench.url("live/cam0"));
    for player in [first, play(&ffmpeg, "", &bench.url("live/cam0"))] {
        let output = player.output().await;
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    let egress = bench.egress("live/cam0");
    assert!(egress.frames > 2 * 120, "{egress:?}");
    bench.stop().await;
}

#[tokio::test]
async fn the_newer_ffmpeg_plays_what_it_knows_and_is_sent_nothing_else() {
    let (Some(new), Some(old)) = (new_ffmpeg(), system_ffmpeg()) else { return };
    let bench = Bench::start();
    let hevc = "-c:v libx265 -preset ultrafast -x265-params log-level=error -g 25 -c:a aac";
    let _encoder = push(&new, hevc, &bench.url("live/cam0"));
    plays(&bench, "live/cam0", &["hev1.", "mp4a."]).await;
    let player = play(&new, "-rtmp_enhanced_codecs hvc1,av01,Opus", &bench.url("live/cam0"));
    let output = player.output().await;
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    // One that announced nothing hears the sound, and ffmpeg 5.1 would not understand the pictures.
    let legacy = play(&old, "", &bench.url("live/cam0")).output().await;
    assert!(legacy.status.success() && legacy.stderr.is_empty(), "{legacy:?}");
    bench.stop().await;
}

/// Decoded pictures and undecoded sound: stream, times and hash of each.
const FRAMES: [&str; 8] = ["-map", "0:v", "-map", "0:a", "-c:a", "copy", "-f", "framemd5"];

/// One frame of such a list.
#[derive(Debug)]
struct Line {
    stream: u32,
    dts: i64,
    pts: i64,
    hash: String,
}

impl Line {
    fn parse(line: &str) -> Self {
        let fields: Vec<_> = line.split(',').map(str::trim).collect();
        let time = |field: usize| fields[field].parse().expect("a time");
        let stream = fields[0].parse().expect("a stream");
        Self { stream, dts: time(1), pts: time(2), hash: fields[5].to_owned() }
    }
}

/// The same frames at the same times. Sound may be `off` milliseconds: 1, since nobody rounds it alike, and 8 for Opus, about
/// whose 6.5 ms of priming two passes through ffmpeg do not agree.
fn assert_same(seen: &[Line], sent: &[Line], sound_off: i64, what: &str) {
    assert_eq!(seen.len(), sent.len(), "{what}");
    for (seen, sent) in seen.iter().zip(sent) {
        let off = if sent.stream == 0 { 0 } else { sound_off };
        let near = (seen.pts - sent.pts).abs() <= off && (seen.dts - sent.dts).abs() <= off;
        assert!(near && seen.stream == sent.stream && seen.hash == sent.hash, "{what}: {seen:?} of {sent:?}");
    }
}

/// Pushes a clip of four seconds, and plays it; the frames at both ends.
async fn there_and_back(codecs: &str, ffmpeg: &PathBuf, announce: &[&str]) -> [Vec<Line>; 2] {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (clip, sent, seen) = (file("clip.flv"), file("sent"), file("seen"));
    let mut made = vec!["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"];
    made.extend(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", "4"]);
    made.extend(codecs.split_whitespace());
    made.push(&clip);
    assert!(run(ffmpeg, &made).output().await.status.success());
    let list = run(ffmpeg, &[&["-copyts", "-i", &clip], &FRAMES[..], &[&sent]].concat());
    assert!(list.output().await.status.success());

    let bench = Bench::start();
    let url = bench.url("live/cam0");
    let player = run(ffmpeg, &[announce, &["-copyts", "-i", &url], &FRAMES[..], &[&seen]].concat());
    bench.until("the player waits", |bench| bench.session("live/cam0").is_some()).await;
    let push = ["-re", "-i", &clip, "-c", "copy", "-f", "flv", &url];
    let encoder = run(ffmpeg, &push).output().await;
    assert!(encoder.status.success() && encoder.stderr.is_empty(), "{encoder:?}");
    let player = player.output().await;
    assert!(player.status.success() && player.stderr.is_empty(), "{player:?}");
    let (ingress, egress) = (bench.ingress("live/cam0"), bench.egress("live/cam0"));
    assert!(egress.frames >= ingress.frames && ingress.frames > 280, "{ingress:?} {egress:?}");
    bench.stop().await;
    [&sent, &seen].map(|list| {
        let text = std::fs::read_to_string(list).expect("a list");
        let mut lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).map(Line::parse).collect();
        lines.sort_by_key(|line| (line.stream, line.pts));
        lines
    })
}

#[tokio::test]
async fn what_is_played_is_what_was_pushed() {
    let Some(ffmpeg) = system_ffmpeg() else { return };
    for frames in [0, 2] {
        let codecs = format!("-c:v libx264 -preset ultrafast -g 25 -bf {frames} -c:a aac");
        let [sent, seen] = there_and_back(&codecs, &ffmpeg, &[]).await;
        assert!(sent.len() > 280, "{}", sent.len());
        assert_same(&seen, &sent, 1, &codecs);
    }
}

#[tokio::test]
async fn what_the_newer_ffmpeg_plays_is_what_it_pushed() {
    let Some(ffmpeg) = new_ffmpeg() else { return };
    let hevc = "-c:v libx265 -preset ultrafast -x265-params log-level=error -g 25 -c:a aac";
    let av1 = "-c:v libsvtav1 -preset 12 -svtav1-params lp=1 -g 25 -c:a libopus";
    for (codecs, sound_off) in [(hevc, 1), (av1, 8)] {
        let announce = ["-rtmp_enhanced_codecs", "hvc1,av01,Opus"];
        let [sent, seen] = there_and_back(codecs, &ffmpeg, &announce).await;
        assert_same(&seen, &sent, sound_off, codecs);
    }
}

/// Lets nobody in.
struct Closed;

impl Admission for Closed {
    fn admit<'a>(&'a self, _: &'a Request) -> AdmissionFuture<'a> {
        let denied =
            Denied { reason: DenyReason::Unauthorized, detail: "the stream key is not known".to_owned() };
        Box::pin(std::future::ready(Err(denied)))
    }
}

#[tokio::test]
async fn line_52_ffmpeg_prints_why_it_is_refused() {
    let Some(ffmpeg) = system_ffmpeg() else { return };
    let bench = Bench::with(Config::default(), Closed);
    let output = push(&ffmpeg, H264_AAC, &bench.url("live/cam0")).output().await;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the stream key is not known"), "{said}");
    bench.stop().await;
    // Nobody is in the way of the next one.
    let open = Bench::with(Config::default(), OpenAdmission);
    open.stop().await;
}
