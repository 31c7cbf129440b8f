//! Whole clips through the framers, against what an independent reader lists for them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use moqgate_core::Timestamp;
use serde_json::Value;

use super::*;

const PACKET: usize = 188;

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// PES packets of one pid: payload, PTS and DTS in ticks of 90 kHz. The clips are clean; this is no demultiplexer.
fn packets(data: &[u8], pid: u16) -> Vec<(Vec<u8>, u64, Option<u64>)> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for packet in data.chunks_exact(PACKET) {
        if u16::from_be_bytes([packet[1] & 0x1f, packet[2]]) != pid || packet[3] & 0x10 == 0 {
            continue;
        }
        let skip = 4 + if packet[3] & 0x20 == 0 { 0 } else { 1 + usize::from(packet[4]) };
        if packet[1] & 0x40 != 0 {
            found.push(Vec::new());
        }
        found.last_mut().unwrap().extend_from_slice(&packet[skip..]);
    }
    let time = |bytes: &[u8]| {
        let [a, b, c, d, e] = bytes[..5].try_into().unwrap();
        let [a, b, c, d, e] = [a, b, c, d, e].map(|byte: u8| u64::from(byte));
        (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
    };
    found
        .into_iter()
        .map(|pes| {
            let dts = (pes[7] & 0x40 != 0).then(|| time(&pes[14..]));
            (pes[9 + usize::from(pes[8])..].to_vec(), time(&pes[9..]), dts)
        })
        .collect()
}

fn coding(clip: &str, name: &str) -> Coding {
    match name {
        "h264" => Coding::H264,
        "h265" => Coding::H265,
        "aac" if clip == "latm" => Coding::AacLatm,
        "aac" => Coding::AacAdts,
        "mp2" => Coding::MpegAudio,
        "ac3" | "eac3" => Coding::Ac3,
        "opus" => Coding::Opus(OpusLayout::from_code(2).unwrap()),
        other => panic!("codec {other}"),
    }
}

fn run(data: &[u8], pid: u16, coding: Coding) -> (Vec<CodecConfig>, Vec<MediaFrame>) {
    let mut framer = framer(coding);
    let (mut configs, mut frames) = (Vec::new(), Vec::new());
    let mut drain = |framer: &mut dyn Framer| {
        while let Some(output) = framer.poll() {
            match output {
                Output::Config(config) => configs.push(config),
                Output::Frame(frame) => frames.push(frame),
                Output::Problem(reason) => panic!("{reason}"),
            }
        }
    };
    for (data, pts, dts) in packets(data, pid) {
        framer.push(PesUnit {
            data: &data,
            pts: Timestamp::from_scale(pts, 90_000),
            dts: dts.and_then(|dts| Timestamp::from_scale(dts, 90_000)),
            damaged: false,
            gap: false,
            discontinuity: false,
            bounded: false,
        });
        drain(framer.as_mut());
    }
    framer.flush();
    drain(framer.as_mut());
    (configs, frames)
}

fn check(clip: &str) -> BTreeMap<u16, Vec<CodecConfig>> {
    let data = fixture(&format!("{clip}.ts"));
    let list: Value = serde_json::from_slice(&fixture(&format!("{clip}.json"))).unwrap();
    let mut found = BTreeMap::new();
    for track in list["tracks"].as_array().unwrap() {
        let pid = u16::try_from(track["pid"].as_u64().unwrap()).unwrap();
        let codec = track["codec"].as_str().unwrap();
        let (configs, frames) = run(&data, pid, coding(clip, codec));
        let units = track["units"].as_array().unwrap();
        assert_eq!(frames.len(), units.len(), "{clip} {codec}");
        for (index, (frame, unit)) in frames.iter().zip(units).enumerate() {
            let pts = Timestamp::from_scale(unit[0].as_u64().unwrap(), 90_000).unwrap().as_micros();
            // The list adds rounded durations, the framer counts samples: half a tick apart.
            assert!(frame.pts.as_micros().abs_diff(pts) <= 12, "{clip} {codec} {index}: {frame:?} {pts}");
            assert_eq!(frame.media().len() as u64, unit[1].as_u64().unwrap(), "{clip} {codec} {index}");
            assert_eq!(u64::from(frame.keyframe), unit[2].as_u64().unwrap(), "{clip} {codec} {index}");
        }
        found.insert(pid, configs);
    }
    found
}

fn video(configs: &[CodecConfig]) -> &crate::event::VideoConfig {
    match configs {
        [CodecConfig::Video(video)] => video,
        other => panic!("{other:?}"),
    }
}

fn audio(configs: &[CodecConfig]) -> &crate::event::AudioConfig {
    match configs.last() {
        Some(CodecConfig::Audio(audio)) => audio,
        other => panic!("{other:?}"),
    }
}

#[test]
fn h264_with_reordering_and_aac() {
    let found = check("bframes");
    let video = video(&found[&256]);
    assert_eq!((video.width, video.height, video.framerate), (640, 360, Some(30.0)));
    assert_eq!(video.codec_string, "avc3.64001e");
    assert_eq!(video.reorder_frames, 1);
    assert_eq!(video.jitter.as_micros().div_ceil(1000), 100);
    let audio = audio(&found[&257]);
    assert_eq!((audio.sample_rate, audio.channels), (48_000, 2));
    assert_eq!(audio.description.as_deref(), Some(&[0x11, 0x90][..]));
    check("demo");
}

#[test]
fn h265() {
    let found = check("hevc");
    let video = video(&found[&256]);
    assert_eq!((video.width, video.height, video.framerate), (640, 360, Some(30.0)));
    assert!(video.codec_string.starts_with("hev1.1.6.L63."), "{}", video.codec_string);
}

#[test]
fn line_13_latm() {
    let found = check("latm");
    let audio = audio(&found[&257]);
    assert_eq!(audio.codec_string, "mp4a.40.2");
    assert_eq!(audio.sample_rate, 48_000);
}

#[test]
fn mpeg_and_dolby_audio() {
    for (clip, codec) in [("mp2", "mp2"), ("ac3", "ac-3"), ("eac3", "ec-3")] {
        let found = check(clip);
        let audio = audio(&found[&257]);
        assert_eq!((audio.codec_string.as_str(), audio.sample_rate), (codec, 48_000));
    }
}

#[test]
fn line_22_opus() {
    let found = check("opus");
    let audio = audio(&found[&257]);
    assert_eq!((audio.codec_string.as_str(), audio.sample_rate), ("opus", 48_000));
    assert_eq!(audio.description.as_deref().map(|head| &head[..8]), Some(&b"OpusHead"[..]));
}
