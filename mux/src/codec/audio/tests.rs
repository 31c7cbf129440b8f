use proptest::prelude::*;

use super::super::aac::tests::frame as adts;
use super::super::{Coding, OpusLayout, PesUnit, framer};
use super::*;

fn pes(data: &[u8], pts: u64) -> PesUnit<'_> {
    PesUnit {
        data,
        pts: Some(Timestamp::from_micros(pts)),
        dts: None,
        damaged: false,
        gap: false,
        discontinuity: false,
        bounded: true,
    }
}

#[derive(Default, Debug)]
struct Seen {
    configs: Vec<AudioConfig>,
    frames: Vec<(u64, usize)>,
    problems: Vec<&'static str>,
}

fn drain(framer: &mut dyn Framer, seen: &mut Seen) {
    while let Some(output) = framer.poll() {
        match output {
            Output::Config(CodecConfig::Audio(config)) => seen.configs.push(config),
            Output::Config(other) => panic!("{other:?}"),
            Output::Frame(frame) => {
                assert!(!seen.configs.is_empty(), "a frame before its parameters");
                seen.frames.push((frame.pts.as_micros(), frame.media().len()));
            }
            Output::Problem(reason) => seen.problems.push(reason),
        }
    }
}

fn run(coding: Coding, packets: &[PesUnit<'_>]) -> Seen {
    let mut framer = framer(coding);
    let mut seen = Seen::default();
    for packet in packets {
        framer.push(*packet);
        drain(framer.as_mut(), &mut seen);
    }
    seen
}

#[test]
fn line_10_several_frames_share_one_time() {
    let packet: Vec<u8> = (0..8).flat_map(|_| adts(100, 1)).collect();
    let seen = run(Coding::AacAdts, &[pes(&packet, 1_000_000), pes(&packet, 1_170_667)]);
    let times: Vec<u64> = seen.frames.iter().map(|frame| frame.0).collect();
    assert_eq!(times[..3], [1_000_000, 1_021_333, 1_042_667]);
    assert_eq!(times[8], 1_170_667);
    assert!(seen.frames.iter().all(|frame| frame.1 == 93));
    assert_eq!(seen.configs.len(), 1);
    // Eight frames come at once: that is what a player has to buffer.
    assert_eq!(seen.configs[0].jitter.as_millis(), 170);
}

#[test]
fn line_10_a_frame_crosses_packets() {
    let stream: Vec<u8> = (0..4).flat_map(|_| adts(100, 1)).collect();
    for cut in 1..stream.len() {
        let whole_before = (cut / 100) as u64;
        // The second packet's time is that of the first frame that begins in it.
        let begins = whole_before + u64::from(cut % 100 != 0);
        let second = 1_000_000 + begins * 64_000 / 3;
        let seen = run(Coding::AacAdts, &[pes(&stream[..cut], 1_000_000), pes(&stream[cut..], second)]);
        let times: Vec<u64> = seen.frames.iter().map(|frame| frame.0).collect();
        assert_eq!(times, [1_000_000, 1_021_333, 1_042_667, 1_064_000], "cut at {cut}");
        assert_eq!(seen.problems, [] as [&str; 0], "cut at {cut}");
    }
}

#[test]
fn line_11_garbage_between_frames_costs_only_what_it_hits() {
    let mut stream: Vec<u8> = (0..6).flat_map(|_| adts(100, 1)).collect();
    stream.splice(250..260, [0xff; 10]);
    stream.splice(300..300, [0xff, 0xf1, 0x00]);
    let seen = run(Coding::AacAdts, &[pes(&stream, 1_000_000), pes(&adts(100, 1), 1_128_000)]);
    assert_eq!(seen.problems, ["audio_resync"]);
    assert!(seen.frames.len() >= 6, "{seen:?}");
    assert_eq!(seen.frames.last(), Some(&(1_128_000, 93)));
}

#[test]
fn line_11_a_damaged_packet_gives_its_whole_frames() {
    let stream: Vec<u8> = (0..4).flat_map(|_| adts(100, 1)).collect();
    let damaged = PesUnit { damaged: true, ..pes(&stream[..350], 1_000_000) };
    let seen = run(Coding::AacAdts, &[damaged, pes(&stream, 1_085_333)]);
    // The third frame is followed by a header, so it is whole; the fourth is cut.
    assert_eq!(seen.frames.len(), 3 + 4);
    assert_eq!(seen.frames[3].0, 1_085_333);
    // Three bytes are not enough to say that the third is whole.
    let damaged = PesUnit { damaged: true, ..pes(&stream[..303], 1_000_000) };
    assert_eq!(run(Coding::AacAdts, &[damaged]).frames.len(), 2);
}

#[test]
fn line_12_changed_parameters_are_announced() {
    let mut mono = adts(100, 1);
    mono[3] = mono[3] & 0x3f | 0x40;
    let stereo = [adts(100, 1), adts(100, 1)].concat();
    let packets = [pes(&stereo, 1_000_000), pes(&mono, 1_042_667)];
    let seen = run(Coding::AacAdts, &packets);
    let channels: Vec<u32> = seen.configs.iter().map(|config| config.channels).collect();
    assert_eq!(channels, [2, 1]);
    assert_eq!(seen.configs[1].description.as_deref(), Some(&[0x11, 0x88][..]));
}

#[test]
fn sound_without_any_time_waits() {
    let packet = adts(100, 1);
    let untimed = PesUnit { pts: None, ..pes(&packet, 0) };
    let seen = run(Coding::AacAdts, &[untimed, pes(&packet, 500), untimed]);
    let times: Vec<u64> = seen.frames.iter().map(|frame| frame.0).collect();
    assert_eq!(times, [500, 21_833]);
}

fn coding() -> impl Strategy<Value = Coding> {
    let opus = OpusLayout { channels: 2, family: 0, streams: 1, coupled: 1 };
    prop_oneof![
        Just(Coding::AacAdts),
        Just(Coding::AacLatm),
        Just(Coding::MpegAudio),
        Just(Coding::Ac3),
        Just(Coding::Opus(opus)),
    ]
}

/// Bytes that often look like the start of a frame.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(vec![0xff, 0xf1, 0x4c, 0x80, 0x03, 0x1f, 0xfc]),
        Just(vec![0x56, 0xe0, 0x09]),
        Just(vec![0xff, 0xfd, 0x14]),
        Just(vec![0x0b, 0x77, 0x00, 0x04, 0x34, 0x80, 0x00, 0x00]),
        Just(vec![0x7f, 0xf0, 0x08, 0x01, 0x38]),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn survives_anything(
        coding in coding(),
        packets in prop::collection::vec((noise(), any::<Option<u32>>(), any::<[bool; 3]>()), 0..12),
    ) {
        let mut framer = framer(coding);
        let mut seen = Seen::default();
        let mut pushed = 0;
        for (data, pts, [damaged, gap, discontinuity]) in &packets {
            pushed += data.len();
            framer.push(PesUnit {
                data,
                pts: pts.map(|pts| Timestamp::from_micros(pts.into())),
                dts: None,
                damaged: *damaged,
                gap: *gap,
                discontinuity: *discontinuity,
                bounded: false,
            });
            drain(framer.as_mut(), &mut seen);
        }
        prop_assert!(seen.frames.iter().map(|frame| frame.1).sum::<usize>() <= pushed);
    }
}
