//! Real encoders: ffmpeg 5.1, and a newer one with enhanced RTMP.

use moqgate_core::{Admission, AdmissionFuture, Denied, DenyReason, OpenAdmission, Request};
use moqgate_rtmp::Config;

use crate::bench::Bench;
use crate::tools::{new_ffmpeg, play, push, system_ffmpeg};

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
