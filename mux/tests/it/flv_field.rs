//! What encoders do over RTMP, as far as the container decides it; and the recorded messages of ffmpeg.

use bytes::Bytes;
use moqgate_mux::event::{CodecConfig, Event};
use moqgate_mux::flv::{Capabilities, Tag, TagKind};

use crate::builder::hex;
use crate::flv::{self, Imported, audio, video};
use crate::media::h264;

const ASC: [u8; 4] = [0xaf, 0, 0x11, 0x90];

/// avcC of the smallest stream.
fn record() -> Vec<u8> {
    record_of(&h264::sps())
}

fn record_of(sps: &[u8]) -> Vec<u8> {
    let pps = h264::pps(0);
    let mut record = vec![1, sps[1], sps[2], sps[3], 0xff, 0xe1];
    record.extend((sps.len() as u16).to_be_bytes());
    record.extend(sps);
    record.push(1);
    record.extend((pps.len() as u16).to_be_bytes());
    record.extend(pps);
    record
}

fn config(time: u32, record: &[u8]) -> Tag {
    video(time, &[&[0x17, 0, 0, 0, 0], record].concat())
}

fn lengths(nals: &[Vec<u8>]) -> Vec<u8> {
    nals.iter()
        .flat_map(|nal| (nal.len() as u32).to_be_bytes().into_iter().chain(nal.iter().copied()))
        .collect()
}

fn key(time: u32) -> Tag {
    video(time, &[&[0x17, 1, 0, 0, 0][..], &lengths(&[h264::idr(0)])].concat())
}

fn delta(time: u32, frame: u32) -> Tag {
    video(time, &[&[0x27, 1, 0, 0, 0][..], &lengths(&[h264::inter(frame % 16, 0)])].concat())
}

fn sound(time: u32) -> Tag {
    audio(time, &[&[0xaf, 1][..], &[0x21; 40]].concat())
}

/// A second of pictures and sound from `start` on, parameters first.
fn second(start: u32) -> Vec<Tag> {
    let mut tags = vec![config(start, &record()), audio(start, &ASC)];
    for number in 0..25 {
        let time = start.wrapping_add(number * 40);
        tags.push(if number == 0 { key(time) } else { delta(time, number) });
        tags.push(sound(time));
        tags.push(sound(time + 20));
    }
    tags
}

fn times(imported: &Imported, suffix: &str) -> Vec<u64> {
    imported.frames_of(suffix).iter().map(|frame| frame.pts.as_micros() / 1000).collect()
}

#[test]
fn recorded_headers_are_read() {
    let h264 = hex(
        "17 00 000000 0164000dffe1001a6764000dacd941419f9f011000000300100000030320f142996001000468efbcb0fdf8f800",
    );
    let frame = [&hex("17 01 000050")[..], &lengths(&[hex("65888402"), hex("0605ff")])].concat();
    let imported = flv::import([
        video(0, &h264),
        audio(0, &hex("af00119056e500")),
        video(0, &frame),
        audio(0, &hex("af0121104b")),
    ]);
    let tracks = imported.tracks();
    let CodecConfig::Video(picture) = &tracks[0].config else { panic!("{tracks:?}") };
    assert_eq!((picture.codec_string.as_str(), picture.width, picture.height), ("avc3.64000d", 320, 180));
    let CodecConfig::Audio(sound) = &tracks[1].config else { panic!("{tracks:?}") };
    assert_eq!((sound.codec_string.as_str(), sound.sample_rate, sound.channels), ("mp4a.40.2", 48_000, 2));
    let frame = imported.frames(tracks[0].id.0)[0];
    assert_eq!(frame.pts.as_micros() - frame.dts.unwrap().as_micros(), 80_000);

    let av1 = "90 61763031 81000c00 0a0b 0200000521e7f66017c002";
    let opus = "90 4f707573 4f70757348656164 0102380180bb0000000000";
    let shown = "91 61763031 1200 0a0b 0200000521e7f66017c002 3202 1000";
    let imported = flv::import([
        video(0, &hex(av1)),
        audio(0, &hex(opus)),
        audio(0, &hex("94 4f707573 01 02 00000003")),
        video(0, &hex("d4 61763031 020009636f6c6f72496e666f03000b636f6c6f72436f6e66696703000009000009")),
        video(0, &hex(shown)),
        video(40, &hex("a1 61763031 1200 1a01e8")),
        audio(0, &hex("91 4f707573 fc7e02")),
    ]);
    assert_eq!(imported.suffixes(), ["av01", "opus"]);
    assert!(imported.problems().is_empty());
    let frames = imported.frames_of("av01");
    assert_eq!(frames.iter().map(|frame| frame.keyframe).collect::<Vec<_>>(), [true, false]);
    assert_eq!(frames[1].media(), hex("1a01e8"), "without the delimiter");
}

#[test]
fn line_40_no_metadata_or_metadata_that_lies() {
    let meta = |keys: &[&str]| {
        let mut body = b"\x02\0\x0aonMetaData\x08\0\0\0\0".to_vec();
        for key in keys {
            body.extend((key.len() as u16).to_be_bytes());
            body.extend(key.as_bytes());
            body.extend([0; 9]);
        }
        body.extend([0, 0, 9]);
        Tag { kind: TagKind::Script, timestamp_ms: 0, body: Bytes::from(body) }
    };
    let cases: [&[&str]; 4] = [&[], &["audiocodecid"], &["videocodecid", "audiocodecid"], &["width", "junk"]];
    for keys in cases {
        let tags = std::iter::once(meta(keys)).chain(second(0));
        let imported = flv::import(tags);
        assert_eq!(imported.tracks().len(), 2, "{keys:?}");
        assert_eq!(times(&imported, "avc3").len(), 25);
        assert_eq!(times(&imported, "aac").len(), 50);
    }
    // Announced and never sent: the pictures do not wait for ever.
    let pictures = second(0).into_iter().filter(|tag| tag.kind == TagKind::Video);
    let mut importer = moqgate_mux::flv::Importer::new();
    importer.push(meta(&["videocodecid", "audiocodecid"]));
    let mut told = 0;
    for tag in pictures.chain((25..60).map(|number| delta(number * 40, number))) {
        importer.push(tag);
        told += std::iter::from_fn(|| importer.poll()).count();
    }
    assert!(told > 50, "{told}");
}

#[test]
fn the_first_catalog_holds_both_tracks() {
    let mut tags = second(0);
    tags.sort_by_key(|tag| (tag.kind == TagKind::Audio, tag.timestamp_ms));
    let mut importer = moqgate_mux::flv::Importer::new();
    let mut first = Vec::new();
    for tag in tags {
        importer.push(tag);
        first.extend(std::iter::from_fn(|| importer.poll()));
        if !first.is_empty() {
            break;
        }
    }
    assert!(matches!(&first[..2], [Event::Track(_), Event::Track(_)]), "{first:?}");
}

#[test]
fn line_41_one_kind_alone() {
    for (kind, suffix, count) in [(TagKind::Video, "avc3", 25), (TagKind::Audio, "aac", 50)] {
        let imported = flv::import(second(0).into_iter().filter(|tag| tag.kind == kind));
        assert_eq!(imported.suffixes(), [suffix]);
        assert_eq!(times(&imported, suffix).len(), count);
    }
}

#[test]
fn line_45_h265_under_other_names() {
    let vps = hex("40010c01ffff01600000030090000003000003003c959809");
    let sps = hex("42010101600000030090000003000003003ca00a080b9f7965662a4932bc05a02000007d2000139481");
    let pps = hex("4401c172b46240");
    let mut record =
        vec![1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 60, 0xf0, 0, 0xfc, 0xfd, 0xf8, 0xf8, 0, 0, 0x0f, 3];
    for (kind, set) in [(32, &vps), (33, &sps), (34, &pps)] {
        record.extend([kind, 0, 1, 0, set.len() as u8]);
        record.extend(set);
    }
    let idr = lengths(&[[&[0x28, 1, 0xaf][..], &[0x55; 20]].concat()]);
    let legacy = |codec: u8| {
        [
            video(0, &[&[0x10 | codec, 0, 0, 0, 0][..], &record].concat()),
            video(0, &[&[0x10 | codec, 1, 0, 0, 0][..], &idr].concat()),
        ]
    };
    let enhanced =
        [video(0, &[b"\x90hvc1", &record[..]].concat()), video(0, &[b"\x93hvc1", &idr[..]].concat())];
    for tags in [legacy(7), legacy(12), enhanced] {
        let imported = flv::import(tags);
        assert_eq!(imported.suffixes(), ["hev1"], "{:?}", imported.problems());
        assert_eq!(imported.frames(0).len(), 1);
    }
}

#[test]
fn line_48_parameters_at_odd_times_or_broken() {
    let mut tags = second(5000);
    tags[0] = config(u32::MAX / 2, &record());
    tags.insert(2, config(0, b""));
    tags.insert(2, config(0, &[1, 66, 0, 30, 0xff, 0xe0, 0]));
    tags.insert(2, config(0, &[9; 30]));
    tags.insert(9, audio(99_999_999, &ASC));
    let imported = flv::import(tags);
    let expected: Vec<u64> = (0..25).map(|number| 10_000 + number * 40).collect();
    assert_eq!(times(&imported, "avc3"), expected);
    assert!(imported.problems().contains(&"sequence_header_invalid"));
    assert!(!imported.events.contains(&Event::Discontinuity));
}

#[test]
fn line_49_messages_without_content() {
    let mut tags = vec![
        video(0, b""),
        audio(0, b""),
        Tag { kind: TagKind::Script, timestamp_ms: 0, body: Bytes::new() },
    ];
    tags.extend(second(0));
    tags.extend([audio(1000, &[0xaf, 1]), video(1000, &[0x27, 1, 0, 0, 0]), audio(1020, b"\x91fLaC")]);
    let imported = flv::import(tags);
    assert_eq!((times(&imported, "avc3").len(), times(&imported, "aac").len()), (25, 50));
}

#[test]
fn line_55_second_sound_only_for_those_who_know_it() {
    let mut tags = second(0);
    tags.push(audio(0, b"\x95\0mp4a\x01\x11\x90"));
    for number in 0..50 {
        tags.push(audio(number * 20, &[&b"\x95\x01mp4a\x01"[..], &[0x21; 30]].concat()));
    }
    let imported = flv::import(tags);
    assert_eq!(imported.suffixes(), ["avc3", "aac", "aac"]);
    let enhanced = |tag: &Tag| match tag.kind {
        TagKind::Video => tag.body[0] & 0x80 != 0,
        TagKind::Audio => tag.body[0] >> 4 == 9,
        TagKind::Script => false,
    };
    let legacy = flv::export(&imported.events, Capabilities::legacy());
    assert!(legacy.len() > 70 && !legacy.iter().any(enhanced));
    let four_ccs = flv::export(&imported.events, Capabilities::legacy().with_four_cc("mp4a"));
    assert!(!four_ccs.iter().any(enhanced));
    let both = flv::export(&imported.events, Capabilities::legacy().with_four_cc("*").with_multitrack());
    assert_eq!(flv::import(both).suffixes(), ["avc3", "aac", "aac"]);
}

#[test]
fn line_14_adts_instead_of_raw_frames() {
    let mut tags: Vec<Tag> = second(0).into_iter().filter(|tag| tag.kind == TagKind::Video).collect();
    for number in 0..50u32 {
        let frame = crate::media::adts::frame(0x21, 40, 2);
        tags.push(audio(number * 20, &[&[0xaf, 1][..], &frame].concat()));
    }
    tags.sort_by_key(|tag| tag.timestamp_ms);
    let imported = flv::import(tags.clone());
    assert_eq!(imported.frames_of("aac")[0].media(), [0x21; 40]);
    tags.insert(0, audio(0, &ASC));
    assert_eq!(flv::import(tags).frames_of("aac")[0].media(), [0x21; 40]);
}

#[test]
fn an_unknown_codec_ends_its_track_and_nothing_else() {
    let mut tags = second(0);
    tags.push(audio(1000, &[0xb2, 1, 2, 3]));
    tags.push(audio(1020, &[0xb2, 1, 2, 3]));
    tags.push(video(1000, b"\x91vvc1\0\0\0xxxx"));
    tags.extend(second(2000));
    let imported = flv::import(tags);
    assert_eq!(imported.problems(), ["codec_unsupported"; 2]);
    assert_eq!(imported.suffixes(), ["avc3", "aac", "aac", "avc3"], "and a known one begins anew");
    let ends = imported.events.iter().filter(|event| matches!(event, Event::TrackEnd(_))).count();
    assert_eq!(ends, 4);
}

#[test]
fn parameters_change_midstream() {
    let mut tags = second(0);
    tags.push(config(1000, &record_of(&h264::sps_of(39, 29))));
    tags.push(audio(1000, &[0xaf, 0, 0x12, 0x10]));
    tags.extend(second(1000).into_iter().skip(2));
    let imported = flv::import(tags);
    assert_eq!(imported.tracks().len(), 2);
    let mut sizes = imported.configs().into_iter().filter_map(|config| match config {
        CodecConfig::Video(video) => Some((video.width, video.height)),
        _ => None,
    });
    assert_eq!(sizes.next(), Some((640, 480)));
    let rates: Vec<_> = imported
        .configs()
        .into_iter()
        .filter_map(
            |config| if let CodecConfig::Audio(audio) = config { Some(audio.sample_rate) } else { None },
        )
        .collect();
    assert_eq!(rates, [44_100]);
    // And out again: each change has its own header.
    let tags = flv::export(&imported.events, Capabilities::legacy());
    let headers = tags.iter().filter(|tag| tag.kind == TagKind::Video && tag.body[..2] == [0x17, 0]).count();
    assert_eq!(headers, 2);
    assert_eq!(tags.iter().map(|tag| tag.timestamp_ms).min(), Some(0));
}

#[test]
fn annex_b_and_sets_in_band() {
    let picture = h264::unit(&[h264::sps(), h264::pps(0), h264::idr(0)]);
    let marked = video(0, &[&[0x17, 1, 0, 0, 0][..], &picture].concat());
    let prefixed =
        video(0, &[&[0x17, 1, 0, 0, 0][..], &lengths(&[h264::sps(), h264::pps(0), h264::idr(0)])].concat());
    for tag in [marked, prefixed] {
        let imported = flv::import([tag]);
        assert_eq!(h264::types(imported.frames(0)[0].media()), [7, 8, 5]);
    }
}

#[test]
fn composition_may_be_negative_and_finer_than_milliseconds() {
    let early = video(40, &[&[0x27, 1, 0xff, 0xff, 0xd8][..], &lengths(&[h264::inter(1, 0)])].concat());
    let fine = [&b"\xa7\x02\x0b\x71\xb0\x01avc1\0\0\0"[..], &lengths(&[h264::inter(2, 0)])].concat();
    let imported = flv::import([config(0, &record()), key(0), early, video(80, &fine)]);
    let times: Vec<_> = imported.frames(0).iter().map(|frame| frame.pts.as_micros() - 10_000_000).collect();
    assert_eq!(times, [0, 0, 80_750]);
}

#[test]
fn a_restarted_encoder_goes_on() {
    let tags: Vec<Tag> = second(3_600_000).into_iter().chain(second(0)).collect();
    let imported = flv::import(tags);
    assert_eq!(imported.events.iter().filter(|event| **event == Event::Discontinuity).count(), 1);
    let times = times(&imported, "avc3");
    assert_eq!(times.len(), 50);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 40), "{times:?}");
}

#[test]
fn line_12_new_sound_parameters_go_out_under_the_same_number() {
    use moqgate_mux::event::CodecConfig;
    let imported = flv::import(second(0));
    let (mut tracks, frames) = crate::export::broadcast(&imported.events);
    let mut exporter = moqgate_mux::flv::Exporter::new(Capabilities::legacy());
    let mut tags = Vec::new();
    for rate in [&[0x11, 0x90], &[0x12, 0x10]] {
        for track in &mut tracks {
            if let CodecConfig::Audio(audio) = &mut track.config {
                audio.description = Some(Bytes::from_static(rate));
            }
        }
        exporter.catalog(&crate::export::catalog(&tracks));
        for (id, frame) in &frames {
            let track = tracks.iter().find(|track| track.id == *id).unwrap();
            exporter.push(
                &crate::export::name(*id, &track.config),
                frame.pts,
                frame.keyframe,
                &frame.payload,
            );
            tags.extend(std::iter::from_fn(|| exporter.poll()));
        }
    }
    let headers: Vec<&[u8]> =
        tags.iter().filter(|tag| tag.body.starts_with(&[0xaf, 0])).map(|tag| &tag.body[2..]).collect();
    assert_eq!(headers, [&[0x11, 0x90], &[0x12, 0x10]]);
    assert_eq!(tags.iter().filter(|tag| tag.kind == TagKind::Script).count(), 1);
    // Everything that a player needs stands in front of the first frame.
    let kinds: Vec<_> = tags[..4].iter().map(|tag| (tag.kind, tag.body[1])).collect();
    assert_eq!(kinds[1..], [(TagKind::Audio, 0), (TagKind::Video, 0), (TagKind::Video, 1)]);
}
