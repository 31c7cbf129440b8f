//! What ffmpeg sends over RTP, against what it was given: another implementation of each payload format.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_mux::event::Event;
use moqgate_mux::rtp::{Codec, Format, ImportConfig, Importer, Output, Packet};

use crate::export::tool;
use crate::rtp::{Imported, plain};
use crate::ts_clips::clip;

/// How long one read of a socket waits before ffmpeg is asked whether it still lives.
const PATIENCE: Duration = Duration::from_millis(50);

fn fixture(name: &str) -> String {
    format!("{}/../fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A packet without what media does not need.
fn packet(data: &[u8]) -> Packet {
    let extension = data[0] & 0x10 != 0;
    let mut start = 12 + 4 * usize::from(data[0] & 15);
    if extension {
        start += 4 + 4 * usize::from(u16::from_be_bytes([data[start + 2], data[start + 3]]));
    }
    let word = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().unwrap());
    Packet {
        ssrc: word(8),
        sequence: u16::from_be_bytes([data[2], data[3]]),
        timestamp: word(4),
        marker: data[1] & 0x80 != 0,
        payload: Bytes::copy_from_slice(&data[start..]),
    }
}

/// Runs ffmpeg with these arguments, an RTP address behind them, and imports what comes.
fn receive(ffmpeg: &Path, codec: Codec, fmtp: &str, arguments: &[&str]) -> Imported {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let control = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    control.set_nonblocking(true).unwrap();
    let ports = (socket.local_addr().unwrap().port(), control.local_addr().unwrap().port());
    let address = format!("rtp://127.0.0.1:{}?rtcpport={}&pkt_size=1200", ports.0, ports.1);
    let mut command = Command::new(ffmpeg);
    command.args(["-v", "error", "-nostdin", "-re"]).args(arguments).args(["-f", "rtp", &address]);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut importer = Importer::new(ImportConfig::default());
    let stream = importer.add(&Format::new(codec, fmtp)).unwrap();
    let (mut buffer, mut out, mut reports) = ([0; 2048], Imported::default(), 0);
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => importer.push(stream, packet(&buffer[..length]), Instant::now()),
            Err(_) if child.try_wait().unwrap().is_some() => break,
            Err(_) => {}
        }
        while let Ok(length @ 28..) = control.recv(&mut buffer) {
            let word = |at: usize| u32::from_be_bytes(buffer[at..at + 4].try_into().unwrap());
            if buffer[1] == 200 && length >= 28 {
                importer.sender_report(word(4), u64::from(word(8)) << 32 | u64::from(word(12)), word(16));
                reports += 1;
            }
        }
        drain(&mut importer, &mut out);
    }
    assert!(child.wait().unwrap().success());
    assert!(reports > 0, "ffmpeg reports");
    let stats = importer.stats(stream).unwrap();
    importer.finish(Instant::now());
    drain(&mut importer, &mut out);
    assert_eq!(
        (stats.lost, stats.duplicates, &out.problems[..], out.requests),
        (0, 0, &[][..], 0),
        "{codec:?}"
    );
    out
}

fn drain(importer: &mut Importer, out: &mut Imported) {
    while let Some(output) = importer.poll() {
        match output {
            Output::Event(Event::Track(track)) => out.tracks.push(track),
            Output::Event(Event::Frame { frame, .. }) => out.frames.push(frame),
            Output::Event(Event::Problem(problem)) => out.problems.push(problem.reason),
            Output::Event(_) => {}
            Output::KeyframeNeeded { .. } => out.requests += 1,
        }
    }
}

/// A clip as it is: the importer of transport streams says what is in it.
fn clip_arrives(name: &str, kind: &str, codec: Codec) {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let map = if kind == "video" { "0:v" } else { "0:a" };
    let out = receive(&ffmpeg, codec, "", &["-i", &fixture(name), "-map", map, "-c", "copy"]);
    let imported = crate::builder::import(&clip(name));
    let track = imported.tracks().into_iter().find(|track| track.config.kind() == kind).unwrap();
    let frames = imported.frames(track.origin.as_ref().unwrap().pid);
    assert_eq!(out.frames.len(), frames.len(), "{name}");
    let shift = out.frames[0].pts.as_micros() as i64 - frames[0].pts.as_micros() as i64;
    for (index, (old, new)) in frames.iter().zip(&out.frames).enumerate() {
        assert_eq!((plain(old), old.keyframe), (plain(new), new.keyframe), "{name} {index}");
        let late = new.pts.as_micros() as i64 - old.pts.as_micros() as i64 - shift;
        // A tick either way; sound is counted anew.
        assert!(late.abs() <= 1000, "{name} {index}: {late}");
    }
}

#[test]
fn h264_of_ffmpeg_arrives() {
    clip_arrives("plain.ts", "video", Codec::H264);
}

#[test]
fn h265_of_ffmpeg_arrives() {
    clip_arrives("hevc.ts", "video", Codec::H265);
}

#[test]
fn opus_of_ffmpeg_arrives() {
    clip_arrives("opus.ts", "audio", Codec::Opus);
}

/// Frames of an IVF file.
fn ivf(data: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &data[32..];
    let mut frames = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<12>() {
        let length = u32::from_le_bytes(head[..4].try_into().unwrap()) as usize;
        frames.push(after[..length].to_vec());
        rest = &after[length..];
    }
    frames
}

/// Pictures that ffmpeg makes, first into a file.
fn encoded_arrives(codec: Codec, encoder: &[&str]) {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = crate::export::Scratch::new(&format!("rtp-{codec:?}.ivf"), b"");
    let source = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30:duration=2", "-y"];
    let made: Vec<&str> = source.iter().chain(encoder).copied().chain(["-f", "ivf", file.path()]).collect();
    crate::export::run(&ffmpeg, &[&["-v", "error", "-nostdin"], &made[..]].concat());
    let frames = ivf(&std::fs::read(file.path()).unwrap());
    let out = receive(&ffmpeg, codec, "", &["-i", file.path(), "-c", "copy", "-strict", "experimental"]);
    let media: Vec<_> = out.frames.iter().map(|frame| frame.media().to_vec()).collect();
    assert_eq!(media, frames, "{codec:?}");
    assert!(out.frames[0].keyframe);
}

#[test]
fn vp8_of_ffmpeg_arrives() {
    encoded_arrives(Codec::Vp8, &["-c:v", "libvpx", "-b:v", "400k", "-deadline", "realtime", "-g", "20"]);
}

#[test]
fn vp9_of_ffmpeg_arrives() {
    let encoder =
        ["-c:v", "libvpx-vp9", "-b:v", "400k", "-deadline", "realtime", "-cpu-used", "8", "-g", "20"];
    encoded_arrives(Codec::Vp9, &encoder);
}

#[test]
fn av1_of_the_newer_ffmpeg_arrives() {
    let Some(ffmpeg) = crate::flv_clips::newer_ffmpeg() else { return };
    let file = crate::export::Scratch::new("rtp-av1.ivf", b"");
    let input = fixture("av1.mp4");
    let copy = ["-i", &input, "-map", "0:v", "-c", "copy"];
    let quiet = ["-v", "error", "-nostdin", "-y"];
    crate::export::run(&ffmpeg, &[&quiet[..], &copy, &["-f", "ivf", file.path()]].concat());
    // Without temporal delimiters, which do not travel.
    let frames: Vec<_> = ivf(&std::fs::read(file.path()).unwrap())
        .into_iter()
        .map(|frame| frame.strip_prefix(&[0x12, 0]).map_or(frame.clone(), <[u8]>::to_vec))
        .collect();
    let out = receive(&ffmpeg, Codec::Av1, "", &[&copy[..], &["-strict", "experimental"]].concat());
    assert_eq!(out.frames.len(), frames.len());
    for (index, (old, new)) in frames.iter().zip(&out.frames).enumerate() {
        assert!(
            new.media() == old,
            "{index}: {:02x?} {:02x?}",
            &old[..40.min(old.len())],
            &new.media()[..40.min(new.media().len())]
        );
    }
}
