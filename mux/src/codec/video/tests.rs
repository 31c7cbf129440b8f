use moqgate_core::Timestamp;
use proptest::prelude::*;

use super::super::bits::BitWriter;
use super::super::h264::H264;
use super::super::h265::H265;
use super::*;

/// 640x360, High, order type 0, no usability information; written by hand from section 7.3.2.1.1.
const SPS: &[u8] = &[0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70];
const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];
const AUD: &[u8] = &[9, 0xf0];
const IDR: &[u8] = &[0x65, 0x88, 0x84, 0x11];
const IDR_REST: &[u8] = &[0x65, 0x48, 0x84, 0x12];
const P: &[u8] = &[0x41, 0x9a, 0x21, 0x13];
const B: &[u8] = &[0x01, 0x9e, 0x21, 0x14];
const RECOVERY: &[u8] = &[6, 6, 1, 0xc4, 0x80];
const I: &[u8] = &[0x41, 0x88, 0x84, 0x15];

fn stream(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&[0, 0, 1], *nal].concat()).collect()
}

fn long(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&START_CODE, *nal].concat()).collect()
}

fn pes(data: &[u8], pts: Option<u64>) -> PesUnit<'_> {
    PesUnit {
        data,
        pts: pts.map(Timestamp::from_micros),
        dts: None,
        damaged: false,
        gap: false,
        discontinuity: false,
        bounded: false,
    }
}

#[derive(Default, Debug)]
struct Seen {
    configs: Vec<VideoConfig>,
    frames: Vec<(u64, bool, Vec<u8>)>,
    problems: Vec<&'static str>,
}

fn drain<C: Coding>(video: &mut Video<C>, seen: &mut Seen) {
    while let Some(output) = video.poll() {
        match output {
            Output::Config(CodecConfig::Video(config)) => seen.configs.push(config),
            Output::Config(other) => panic!("{other:?}"),
            Output::Frame(frame) => {
                assert!(!seen.configs.is_empty(), "a frame before its parameters");
                seen.frames.push((frame.pts.as_micros(), frame.keyframe, frame.media().to_vec()));
            }
            Output::Problem(reason) => seen.problems.push(reason),
        }
    }
}

fn run<C: Coding>(packets: &[PesUnit<'_>]) -> Seen {
    let mut video = Video::<C>::default();
    let mut seen = Seen::default();
    for packet in packets {
        video.push(*packet);
        drain(&mut video, &mut seen);
    }
    video.flush();
    drain(&mut video, &mut seen);
    seen
}

fn times(seen: &Seen) -> Vec<u64> {
    seen.frames.iter().map(|frame| frame.0).collect()
}

#[test]
fn cuts_pictures_however_packets_are_cut() {
    let units = [vec![AUD, SPS, PPS, IDR, IDR_REST], vec![AUD, P], vec![AUD, B]];
    let bytes: Vec<u8> = units.iter().flat_map(|unit| stream(unit)).collect();
    let whole = run::<H264>(&[pes(&bytes, Some(0))]);
    assert_eq!(whole.frames.len(), 3);
    for (frame, unit) in whole.frames.iter().zip(&units) {
        assert_eq!(frame.2, long(unit));
    }
    for cut in 1..bytes.len() {
        let seen = run::<H264>(&[pes(&bytes[..cut], Some(0)), pes(&bytes[cut..], None)]);
        let media = |seen: &Seen| seen.frames.iter().map(|frame| frame.2.clone()).collect::<Vec<_>>();
        assert_eq!(media(&seen), media(&whole), "cut at {cut}");
    }
}

#[test]
fn line_15_slices_and_pictures_without_delimiters() {
    let first = stream(&[SPS, PPS, IDR, IDR_REST]);
    let second = stream(&[P]);
    let seen = run::<H264>(&[pes(&first, Some(0)), pes(&second, Some(40_000)), pes(&second, Some(80_000))]);
    assert_eq!(times(&seen), [0, 40_000, 80_000]);
    assert_eq!(seen.frames[0].2, long(&[SPS, PPS, IDR, IDR_REST]));
}

#[test]
fn the_end_of_a_packet_ends_its_picture_once_packets_are_seen_to_be_aligned() {
    let mut video = Video::<H264>::default();
    let mut seen = Seen::default();
    let key = stream(&[AUD, SPS, PPS, IDR]);
    let other = stream(&[AUD, P]);
    let mut count = Vec::new();
    for index in 0..12u64 {
        let data = if index == 0 { &key } else { &other };
        video.push(pes(data, Some(index * 40_000)));
        drain(&mut video, &mut seen);
        count.push(seen.frames.len());
    }
    // The eighth packet earns the trust.
    assert_eq!(count, [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]);
    assert_eq!(times(&seen)[11], 440_000);
    assert!(video.carry.is_empty());
}

#[test]
fn a_picture_in_two_packets_ends_the_trust() {
    let mut packets = vec![stream(&[AUD, SPS, PPS, IDR])];
    packets.extend((0..10).map(|_| stream(&[AUD, P])));
    packets.push(IDR_REST.to_vec());
    packets.extend((0..3).flat_map(|_| {
        let unit = stream(&[AUD, P]);
        [unit[..8].to_vec(), unit[8..].to_vec()]
    }));
    let units: Vec<_> =
        packets.iter().enumerate().map(|(at, data)| pes(data, Some(at as u64 * 40_000))).collect();
    let seen = run::<H264>(&units);
    assert_eq!(seen.frames.len(), 14);
    assert!(seen.frames[11..].iter().all(|frame| frame.2 == long(&[AUD, P])));
}

#[test]
fn a_full_packet_leaves_its_picture_open() {
    let mut packets = vec![stream(&[AUD, SPS, PPS, IDR])];
    packets.extend((0..9).map(|_| stream(&[AUD, P])));
    let big: Vec<u8> = P.iter().copied().chain(std::iter::repeat_n(0x55, 70_000)).collect();
    let unit = stream(&[AUD, &big]);
    packets.push(unit[..65_000].to_vec());
    packets.push(unit[65_000..].to_vec());
    packets.push(stream(&[AUD, P]));
    let units: Vec<_> = packets
        .iter()
        .enumerate()
        .map(|(at, data)| PesUnit { bounded: true, ..pes(data, (at != 11).then_some(at as u64 * 40_000)) })
        .collect();
    let seen = run::<H264>(&units);
    assert_eq!(seen.frames.len(), 12);
    assert_eq!(seen.frames[10].2, long(&[AUD, &big]));
    assert_eq!(seen.frames[11].0, 480_000);
}

#[test]
fn line_16_every_parameter_set_stands_before_every_keyframe() {
    let other = &[0x68, 0x5a, 0xe3][..]; // picture set 1
    let once = stream(&[AUD, SPS, PPS, other, IDR]);
    let later = stream(&[AUD, IDR]);
    let seen = run::<H264>(&[pes(&once, Some(0)), pes(&later, Some(40_000))]);
    assert_eq!(seen.frames[1].2, long(&[AUD, SPS, PPS, other, IDR]));
    assert!(seen.frames[1].1);
}

#[test]
fn line_17_nothing_goes_out_before_the_parameter_sets() {
    let bare = stream(&[AUD, IDR]);
    let sets = stream(&[SPS, PPS]);
    let seen = run::<H264>(&[
        pes(&bare, Some(0)),
        pes(&stream(&[AUD, P]), Some(40_000)),
        pes(&sets, Some(80_000)),
        pes(&stream(&[IDR]), Some(80_000)),
        pes(&stream(&[AUD, P]), Some(120_000)),
    ]);
    assert_eq!(times(&seen), [80_000, 120_000]);
    assert_eq!(seen.frames[0].2, long(&[SPS, PPS, IDR]));
    assert!(seen.problems.contains(&"parameter_sets_missing"));
}

#[test]
fn line_19_a_broken_set_does_not_replace_a_good_one() {
    let broken = &[0x67, 0x64, 0x00, 0x1e][..];
    let seen = run::<H264>(&[
        pes(&stream(&[AUD, SPS, PPS, IDR]), Some(0)),
        pes(&stream(&[AUD, broken, PPS, IDR]), Some(40_000)),
    ]);
    assert_eq!(seen.frames[1].2, long(&[AUD, SPS, PPS, IDR]));
    assert_eq!(seen.problems, ["sps_invalid"]);
    assert_eq!(seen.configs.len(), 1);
}

#[test]
fn line_20_suffix_sei_and_delimiters_stay_with_their_picture() {
    let suffix = &[40 << 1, 1, 0x84, 1, 0x11][..];
    let aud = &[35 << 1, 1, 0x50][..];
    let (vps, sps, pps) = HEVC_SETS;
    let idr = &[19 << 1, 1, 0xaf, 0x11][..];
    let trail = &[1 << 1, 1, 0xd0, 0x12][..];
    let bytes = [&[aud, vps, sps, pps, idr, suffix][..], &[aud, trail, suffix], &[aud, trail, suffix]];
    let all: Vec<u8> = bytes.iter().flat_map(|unit| stream(unit)).collect();
    let seen = run::<H265>(&[pes(&all, Some(0))]);
    assert_eq!(seen.frames.len(), 3);
    for (frame, unit) in seen.frames.iter().zip(bytes) {
        assert_eq!(frame.2, long(unit));
    }
    assert_eq!(seen.configs[0].codec_string, "hev1.1.6.L63.90");
    assert_eq!((seen.configs[0].width, seen.configs[0].height), (640, 360));
}

#[test]
fn line_21_joins_an_open_group_and_leaves_its_leading_pictures_out() {
    let join = stream(&[AUD, SPS, PPS, RECOVERY, I]);
    let (p, b) = (stream(&[AUD, P]), stream(&[AUD, B]));
    let once = [
        pes(&p, Some(40_000)),
        pes(&join, Some(160_000)),
        pes(&b, Some(80_000)),
        pes(&b, Some(120_000)),
        pes(&p, Some(280_000)),
        pes(&b, Some(200_000)),
    ];
    let seen = run::<H264>(&once);
    assert_eq!(times(&seen), [160_000, 280_000, 200_000]);
    assert!(seen.frames[0].1);

    // Once the stream runs, the same pictures have what they need.
    let again: Vec<_> = once
        .iter()
        .copied()
        .chain(once[1..].iter().map(|unit| PesUnit {
            pts: unit.pts.map(|pts| Timestamp::from_micros(pts.as_micros() + 240_000)),
            ..*unit
        }))
        .collect();
    let seen = run::<H264>(&again);
    assert_eq!(times(&seen)[3..], [400_000, 320_000, 360_000, 520_000, 440_000]);
}

#[test]
fn line_21_leading_pictures_that_are_marked_are_left_out_after_a_join() {
    let (vps, sps, pps) = HEVC_SETS;
    let cra = stream(&[vps, sps, pps, &[21 << 1, 1, 0xaf, 0x11]]);
    let rasl = stream(&[&[9 << 1, 1, 0xd0, 0x12]]);
    let radl = stream(&[&[7 << 1, 1, 0xd0, 0x12]]);
    let seen = run::<H265>(&[pes(&cra, Some(120_000)), pes(&rasl, Some(40_000)), pes(&radl, Some(80_000))]);
    assert_eq!(times(&seen), [120_000, 80_000]);
}

#[test]
fn line_21_gradual_refresh_is_joined_when_no_keyframe_comes() {
    let refresh: &[u8] = &[6, 6, 1, 0x15, 0x80];
    let unit = stream(&[AUD, SPS, PPS, refresh, P]);
    let packets: Vec<_> = (0..200).map(|at| pes(&unit, Some(at * 40_000))).collect();
    let seen = run::<H264>(&packets);
    assert_eq!(seen.frames.first().map(|frame| (frame.0, frame.1)), Some((5_000_000, true)));
    // From then on every such point is one to join at.
    assert!(seen.frames.iter().all(|frame| frame.1));
}

#[test]
fn damage_ends_at_the_next_keyframe() {
    let (key, p, b) = (stream(&[AUD, SPS, PPS, IDR]), stream(&[AUD, P]), stream(&[AUD, B]));
    let damaged = |data| PesUnit { damaged: true, ..pes(data, Some(80_000)) };
    let after = [pes(&p, Some(120_000)), pes(&key, Some(160_000)), pes(&p, Some(200_000))];
    let seen = run::<H264>(&[&[pes(&key, Some(0)), pes(&p, Some(40_000)), damaged(&p)], &after[..]].concat());
    assert_eq!(times(&seen), [0, 40_000, 160_000, 200_000]);
    // Nothing depends on a picture that is no reference.
    let seen = run::<H264>(&[&[pes(&key, Some(0)), pes(&p, Some(40_000)), damaged(&b)], &after[..]].concat());
    assert_eq!(times(&seen), [0, 40_000, 120_000, 160_000, 200_000]);
    let gap = PesUnit { gap: true, ..pes(&p, Some(80_000)) };
    let seen = run::<H264>(&[&[pes(&key, Some(0)), gap], &after[..]].concat());
    assert_eq!(times(&seen).last_chunk(), Some(&[160_000, 200_000]));
}

/// The sequence set of an interlaced stream: 1920 by 1088, `frame_num` of 4 bits.
fn interlaced_sps() -> Vec<u8> {
    let mut bits = BitWriter::default();
    bits.write(0x674d_0028, 32);
    // Id, size of frame_num, order type 0 and its size, two reference frames.
    for value in [0, 0, 0, 0, 2] {
        bits.ue(value);
    }
    bits.write(0, 1); // no gaps in frame_num
    bits.ue(119); // macroblocks across
    bits.ue(33); // pairs of rows
    bits.write(0b00_1001, 6); // fields, not adaptive, direct inference, no cropping, nothing else
    bits.finish()
}

fn field(header: u32, number: u32, bottom: bool) -> Vec<u8> {
    let mut bits = BitWriter::default();
    bits.write(header, 8);
    // Macroblock 0, P, picture set 0.
    for value in [0, 5, 0] {
        bits.ue(value);
    }
    bits.write(number, 4);
    bits.write(if bottom { 0b11 } else { 0b10 }, 2);
    bits.write(0x155, 11);
    bits.finish()
}

#[test]
fn fields_of_one_picture_stay_together() {
    let sps = interlaced_sps();
    let (key, key_bottom) = (field(0x65, 0, false), field(0x41, 0, true));
    let (top, bottom, next) = (field(0x41, 1, false), field(0x41, 1, true), field(0x41, 2, true));
    let packets = [
        stream(&[AUD, &sps, PPS, &key]),
        stream(&[AUD, &key_bottom]),
        stream(&[AUD, &top]),
        stream(&[AUD, &bottom]),
        // A field without its other one.
        stream(&[AUD, &next]),
        stream(&[AUD, P]),
    ];
    let units: Vec<_> = packets.iter().zip(0..).map(|(data, at)| pes(data, Some(at * 20_000))).collect();
    for repeat in [1, 12] {
        // Later, when the ends of packets are trusted, too.
        let shown: Vec<_> = (0..repeat).flat_map(|_| units[..4].iter().copied()).collect();
        let seen = run::<H264>(&shown);
        assert_eq!(seen.frames.len(), 2 * repeat);
        assert!(seen.frames.iter().all(|frame| frame.0 == 0 || frame.0 == 40_000));
        assert_eq!(seen.frames[1].2, long(&[AUD, &top, AUD, &bottom]));
    }
    assert_eq!(times(&run::<H264>(&units))[..3], [0, 40_000, 80_000]);
    assert_eq!(run::<H264>(&units).configs[0].height, 1088);
}

#[test]
fn longer_leads_widen_the_jitter_once() {
    let (key, p) = (stream(&[AUD, SPS, PPS, IDR]), stream(&[AUD, P]));
    let lead = |data, pts: u64, lead: u64| PesUnit {
        dts: Some(Timestamp::from_micros(pts - lead)),
        ..pes(data, Some(pts))
    };
    let seen = run::<H264>(&[
        lead(&key, 1_000_000, 40_000),
        lead(&p, 1_400_000, 360_000),
        lead(&p, 1_440_000, 360_000),
        lead(&p, 1_480_000, 40_000),
    ]);
    let jitters: Vec<_> = seen.configs.iter().map(|config| config.jitter.as_millis()).collect();
    assert_eq!(jitters, [200, 360]);
}

#[test]
fn units_without_end_are_bounded() {
    let mut video = Video::<H264>::default();
    video.push(pes(&stream(&[AUD, SPS, PPS, IDR]), Some(0)));
    let filling = vec![0x55; 1 << 20];
    for _ in 0..20 {
        video.push(pes(&filling, None));
        assert!(video.carry.len() <= UNIT_BYTES_MAX);
    }
    let empty = stream(&[&[0x0a][..]; 5000]);
    video.push(pes(&stream(&[AUD, SPS, PPS, IDR]), Some(40_000)));
    video.push(pes(&empty, Some(80_000)));
    let mut seen = Seen::default();
    drain(&mut video, &mut seen);
    assert!(seen.problems.contains(&"picture_too_long"));
    assert!(seen.problems.contains(&"picture_too_many_units"));
}

/// 640x360, Main, as x265 writes them.
const HEVC_SETS: (&[u8], &[u8], &[u8]) = (
    &[
        0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x3f, 0x95,
        0x98, 9,
    ],
    &[
        0x42, 0x01, 0x01, 0x01, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x3f, 0xa0, 0x05, 0x02, 0x01,
        0x69, 0x65, 0x95, 0x9a, 0x49, 0x32, 0xbc, 0x04, 0x04, 0, 0, 3, 0, 4, 0, 0, 3, 0, 0x64, 0x20,
    ],
    &[0x44, 0x01, 0xc1, 0x72, 0xb4, 0x62, 0x40],
);

/// Bytes with many start codes and headers.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..30),
        Just(vec![0, 0, 1]),
        Just(vec![0, 0, 0, 1]),
        Just(stream(&[AUD])),
        Just(stream(&[SPS, PPS])),
        Just(stream(&[IDR])),
        Just(stream(&[P])),
        Just(stream(&[RECOVERY, I])),
        Just(stream(&[HEVC_SETS.0, HEVC_SETS.1, HEVC_SETS.2])),
        Just(stream(&[&[21 << 1, 1, 0xaf, 0x11]])),
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

fn survive<C: Coding>(packets: &[(Vec<u8>, Option<u32>, [bool; 4])]) {
    let mut video = Video::<C>::default();
    let mut seen = Seen::default();
    for (data, pts, [damaged, gap, discontinuity, bounded]) in packets {
        video.push(PesUnit {
            damaged: *damaged,
            gap: *gap,
            discontinuity: *discontinuity,
            bounded: *bounded,
            ..pes(data, pts.map(u64::from))
        });
        drain(&mut video, &mut seen);
    }
    video.flush();
    drain(&mut video, &mut seen);
    for (_, keyframe, media) in &seen.frames {
        assert!(media.starts_with(&START_CODE));
        assert!(*keyframe || !seen.frames.is_empty());
    }
    assert!(seen.frames.first().is_none_or(|frame| frame.1), "starts with a keyframe");
}

proptest! {
    #[test]
    fn survives_anything(
        packets in prop::collection::vec((noise(), any::<Option<u32>>(), any::<[bool; 4]>()), 0..16),
    ) {
        survive::<H264>(&packets);
        survive::<H265>(&packets);
    }

    #[test]
    fn survives_anything_on_a_good_line(
        packets in prop::collection::vec((noise(), any::<Option<u32>>()), 0..24),
    ) {
        let packets: Vec<_> = packets.into_iter().map(|(data, pts)| (data, pts, [false; 4])).collect();
        survive::<H264>(&packets);
        survive::<H265>(&packets);
    }
}
