//! ffmpeg and ffprobe: pushing a clip, and telling whether two clips are the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::process::Process;
use crate::tools;

/// How far a timestamp may move, in 90 kHz: hang counts microseconds, which hold a 90 kHz tick to within one.
const TICKS: u64 = 1;

/// The URL for ffmpeg to publish `path` at an SRT listener. `more` is appended to the query, as in `&latency=400000`.
#[must_use]
pub fn srt_url(listener: SocketAddr, path: &str, more: &str) -> String {
    srt_url_with(listener, &format!("#!::r={path},m=publish"), more)
}

/// The same with any stream id. Without `linger` ffmpeg throws away at the end what it has not sent yet.
#[must_use]
pub fn srt_url_with(listener: SocketAddr, stream_id: &str, more: &str) -> String {
    format!("srt://{listener}?mode=caller&linger=10&streamid={stream_id}{more}")
}

/// Pushes the clip to `url` without touching a frame. `rate` is the speed: 1 is real time.
#[must_use]
pub fn push(clip: &Path, url: &str, rate: f32) -> Process {
    let mut command = copy(clip, rate);
    Process::start("ffmpeg push", command.args(["-f", "mpegts", url]))
}

/// Pushes the clip to `url` again and again, with running timestamps, in real time, until it is dropped.
#[must_use]
pub fn push_forever(clip: &Path, url: &str) -> Process {
    let mut command = ffmpeg();
    command.args(["-re", "-stream_loop", "-1", "-i"]).arg(clip).args(["-map", "0", "-c", "copy"]);
    Process::start("ffmpeg push", command.args(["-f", "mpegts", url]))
}

/// The same over RTMP.
#[must_use]
pub fn push_forever_rtmp(clip: &Path, url: &str) -> Process {
    let mut command = ffmpeg();
    command
        .args(["-re", "-stream_loop", "-1", "-i"])
        .arg(clip)
        .args(["-map", "0:v", "-map", "0:a", "-c", "copy"]);
    Process::start("ffmpeg push RTMP", command.args(["-f", "flv", url]))
}

/// Pushes the clip over WHIP, in real time. Only the newer ffmpeg has the muxer.
#[must_use]
pub fn push_whip(clip: &Path, url: &str) -> Process {
    let mut command = Command::new(tools::program(tools::NEWER_FFMPEG));
    command.args(["-hide_banner", "-nostdin", "-loglevel", "warning", "-re", "-i"]).arg(clip);
    Process::start("ffmpeg push WHIP", command.args(["-map", "0", "-c", "copy", "-f", "whip", url]))
}

/// The same again and again until it is dropped, with its sound as Opus and a bearer token.
#[must_use]
pub fn push_forever_whip(clip: &Path, url: &str, token: &str) -> Process {
    let mut command = Command::new(tools::program(tools::NEWER_FFMPEG));
    command
        .args(["-hide_banner", "-nostdin", "-loglevel", "warning", "-re", "-stream_loop", "-1", "-i"])
        .arg(clip);
    command.args([
        "-map",
        "0",
        "-c:v",
        "copy",
        "-c:a",
        "libopus",
        "-f",
        "whip",
        "-authorization",
        token,
        url,
    ]);
    Process::start("ffmpeg push WHIP", &mut command)
}

/// Writes the clip with its picture as it is and its sound as Opus to `out`.
///
/// # Panics
///
/// When ffmpeg fails.
pub fn with_opus(clip: &Path, out: &Path) {
    let mut command = ffmpeg();
    command.arg("-i").arg(clip).args(["-map", "0:v", "-map", "0:a", "-c:v", "copy", "-c:a", "libopus"]);
    command.args(["-b:a", "64k", "-ac", "2", "-f", "mpegts"]).arg(out);
    assert!(command.status().is_ok_and(|status| status.success()), "ffmpeg makes Opus of the sound");
}

/// Plays `url` and throws away what comes.
#[must_use]
pub fn play(url: &str) -> Process {
    let mut command = ffmpeg();
    Process::start("ffmpeg play", command.args(["-i", url, "-c", "copy", "-f", "null", "-"]))
}

/// Sends the bytes of a file as they are, whatever they are.
#[must_use]
pub fn push_bytes(file: &Path, url: &str) -> Process {
    let mut command = ffmpeg();
    command.args(["-f", "data", "-i"]).arg(file).args(["-map", "0", "-c", "copy", "-f", "data", url]);
    Process::start("ffmpeg push bytes", &mut command)
}

/// The command that reads the clip at `rate` and copies every stream of it; the output is still to be named.
#[must_use]
pub fn copy(clip: &Path, rate: f32) -> Command {
    let mut command = ffmpeg();
    command.args(["-readrate", &rate.to_string(), "-i"]).arg(clip).args(["-map", "0", "-c", "copy"]);
    command
}

/// Writes `clip` as often as it takes for `seconds`, with running timestamps, to `out`.
///
/// # Panics
///
/// When ffmpeg fails.
pub fn repeat(clip: &Path, seconds: u32, out: &Path) {
    let mut command = ffmpeg();
    command.args(["-stream_loop", "-1", "-t", &seconds.to_string(), "-i"]).arg(clip);
    command.args(["-map", "0", "-c", "copy", "-f", "mpegts"]).arg(out);
    assert!(command.status().is_ok_and(|status| status.success()), "ffmpeg repeats the clip");
}

fn ffmpeg() -> Command {
    let mut command = Command::new(tools::program("ffmpeg"));
    command.args(["-hide_banner", "-nostdin", "-loglevel", "warning", "-y"]);
    command
}

/// What a clip shows and says, stream by stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The MD5 of every decoded frame.
    pub frames: Vec<String>,
    /// The PTS of every packet, relative to the first packet of the first stream, in 90 kHz.
    pub stamps: Vec<i64>,
}

/// Decodes a clip; the key is the codec, of which our clips have one each.
///
/// # Panics
///
/// When ffmpeg or ffprobe cannot read it.
#[must_use]
pub fn content(clip: &Path) -> BTreeMap<String, Content> {
    let mut streams: BTreeMap<String, Content> = BTreeMap::new();
    let codecs = codecs(clip);
    for (index, md5) in frame_md5(clip) {
        streams.entry(codecs[&index].clone()).or_default().frames.push(md5);
    }
    let packets = packets(clip);
    let first = codecs.keys().next().copied().unwrap_or_default();
    let zero = packets.iter().find(|packet| packet.0 == first).map_or(0, |packet| packet.1);
    for (index, pts) in packets {
        streams.entry(codecs[&index].clone()).or_default().stamps.push(pts - zero);
    }
    streams
}

/// Fails with the first difference between two clips, in words.
///
/// # Panics
///
/// When they differ.
#[track_caller]
pub fn assert_same_content(source: &Path, copy: &Path) {
    let (source, copy) = (content(source), content(copy));
    assert_eq!(
        source.keys().collect::<Vec<_>>(),
        copy.keys().collect::<Vec<_>>(),
        "the same codecs in the source and in the copy"
    );
    for (codec, wanted) in source {
        let found = &copy[&codec];
        let near = |stamp: &i64| found.stamps.iter().any(|other| stamp.abs_diff(*other) <= TICKS);
        let missing: Vec<_> = (0..wanted.stamps.len()).filter(|&at| !near(&wanted.stamps[at])).collect();
        assert!(missing.is_empty(), "{codec}: the copy lacks the packets {missing:?}");
        let lengths = (found.stamps.len(), found.frames.len());
        let wanted_lengths = (wanted.stamps.len(), wanted.frames.len());
        assert_eq!(lengths, wanted_lengths, "{codec}: (packets, decoded frames) of the copy and the source");
        let unlike = (0..wanted.frames.len()).find(|&at| wanted.frames[at] != found.frames[at]);
        assert_eq!(unlike, None, "{codec}: the first decoded frame with other content");
        let moved = (0..wanted.stamps.len()).find(|&at| wanted.stamps[at].abs_diff(found.stamps[at]) > TICKS);
        let moved = moved.map(|at| (at, wanted.stamps[at], found.stamps[at]));
        assert_eq!(moved, None, "{codec}: the first timestamp that moved (packet, source, copy)");
    }
}

fn codecs(clip: &Path) -> BTreeMap<usize, String> {
    let rows = probe(clip, "stream=index,codec_name");
    // LATM and ADTS are wrappings of the same frames, and what goes in as one may come out as the other.
    let name = |codec: &str| codec.trim_end_matches("_latm").to_owned();
    rows.iter().filter_map(|row| Some((row.first()?.parse().ok()?, name(row.get(1)?)))).collect()
}

/// (stream, pts) of every packet, in file order.
fn packets(clip: &Path) -> Vec<(usize, i64)> {
    let rows = probe(clip, "packet=stream_index,pts");
    rows.iter().filter_map(|row| Some((row.first()?.parse().ok()?, row.get(1)?.parse().ok()?))).collect()
}

/// The rows that ffprobe prints for these entries.
pub(crate) fn probe(clip: &Path, entries: &str) -> Vec<Vec<String>> {
    let mut command = Command::new(tools::program("ffprobe"));
    command.args(["-v", "error", "-of", "csv=p=0", "-show_entries", entries]).arg(clip);
    let output = command.output().expect("ffprobe runs");
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ffprobe {}: {problem}", clip.display());
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| line.split(',').map(|word| word.trim().to_owned()).collect()).collect()
}

/// (stream, MD5) of every decoded frame.
fn frame_md5(clip: &Path) -> Vec<(usize, String)> {
    let mut command = ffmpeg();
    command.arg("-i").arg(clip).args(["-map", "0:v?", "-map", "0:a?", "-fps_mode", "passthrough"]);
    let output = command.args(["-f", "framemd5", "-"]).output().expect("ffmpeg runs");
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ffmpeg decodes {}: {problem}", clip.display());
    let text = String::from_utf8_lossy(&output.stdout);
    let rows = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(',').map(str::trim));
    rows.filter_map(|mut row| Some((row.next()?.parse().ok()?, row.next_back()?.to_owned()))).collect()
}
