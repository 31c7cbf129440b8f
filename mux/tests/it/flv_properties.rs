//! Whatever a peer sends as FLV.

use bytes::Bytes;
use moqgate_mux::event::Event;
use moqgate_mux::flv::{File, Importer, Tag, TagKind};
use proptest::prelude::*;

/// Events that may wait at once; a second of pictures and sound, and room.
const EVENTS_MAX: usize = 100_000;

fn kind() -> impl Strategy<Value = TagKind> {
    prop::sample::select(vec![TagKind::Audio, TagKind::Video, TagKind::Script])
}

/// Bodies that begin like real ones.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let heads: Vec<&[u8]> = vec![
        b"\x17\0\0\0\0\x01\x64\0\x0d\xff\xe1\0\x04\x67\x42\xc0\x1e",
        b"\x17\x01\0\0\0\0\0\0\x04",
        b"\x27\x01\0\0\xa0",
        b"\x90hvc1\x01",
        b"\x91hvc1\0\0\0",
        b"\x90av01\x81\0\x0c\0\x0a\x0b",
        b"\x91av01\x12\0\x0a",
        b"\x91vp09\x82\x49\x83\x42",
        b"\x96\x21avc1",
        b"\x97\x02\0\0\0\x01",
        b"\xaf\0\x11\x90",
        b"\xaf\x01",
        b"\x90OpusOpusHead\x01\x02",
        b"\x91Opus\xfc",
        b"\x95\x21",
        b"\x91fLaC\xff\xf8",
        b"\x91ac-3\x0b\x77",
        b"\x2f\xff\xfb",
        b"\x02\0\x0aonMetaData\x08",
        b"",
    ];
    (prop::sample::select(heads), prop::collection::vec(any::<u8>(), 0..200))
        .prop_map(|(head, tail)| [head, &tail].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn line_50_anything_may_come(tags in prop::collection::vec((kind(), any::<u32>(), body()), 0..60)) {
        let mut importer = Importer::new();
        let (mut known, mut ended) = (Vec::new(), 0);
        for (kind, timestamp_ms, body) in tags {
            importer.push(Tag { kind, timestamp_ms, body: body.into() });
            let events: Vec<Event> = std::iter::from_fn(|| importer.poll()).collect();
            prop_assert!(events.len() < EVENTS_MAX);
            for event in events {
                match event {
                    Event::Track(track) => known.push(track.id),
                    Event::Frame { track, frame } => {
                        prop_assert!(known.contains(&track));
                        prop_assert!(!frame.media().is_empty());
                    }
                    Event::TrackEnd(_) => ended += 1,
                    _ => {}
                }
            }
        }
        importer.finish();
        while let Some(event) = importer.poll() {
            match event {
                Event::Track(track) => known.push(track.id),
                Event::TrackEnd(_) => ended += 1,
                _ => {}
            }
        }
        prop_assert_eq!(known.len(), ended);
    }

    #[test]
    fn files_may_hold_anything(data in prop::collection::vec(any::<u8>(), 0..400)) {
        let data = [&b"FLV\x01\x05\0\0\0\x09\0\0\0\0"[..], &data].concat();
        prop_assert!(File::new(Bytes::from(data)).unwrap().count() < 40);
    }
}

#[test]
fn line_50_no_more_tracks_than_agreed() {
    let mut importer = Importer::new();
    let mut refused = 0;
    for number in 0..=255u8 {
        let body = [&b"\x95\0mp4a"[..], &[number, 0x11, 0x90]].concat();
        importer.push(Tag { kind: TagKind::Audio, timestamp_ms: 0, body: body.into() });
    }
    importer.finish();
    while let Some(event) = importer.poll() {
        refused +=
            usize::from(matches!(event, Event::Problem(problem) if problem.reason == "too_many_tracks"));
    }
    assert_eq!(refused, 256 - 32);
}

#[test]
fn line_50_codings_do_not_change_for_ever() {
    let mut importer = Importer::new();
    let (mut changes, mut refused) = (0, false);
    for number in 0..2000u32 {
        let bodies: [&[u8]; 2] = [b"\x90Opus", b"\xaf\0\x11\x90"];
        let frames: [&[u8]; 2] = [b"\x91Opus\xfc\0", b"\xaf\x01\x21"];
        for body in [bodies[number as usize % 2], frames[number as usize % 2]] {
            importer.push(Tag {
                kind: TagKind::Audio,
                timestamp_ms: number * 20,
                body: Bytes::from_static(body),
            });
        }
        while let Some(event) = importer.poll() {
            changes += usize::from(matches!(event, Event::Track(_) | Event::Config { .. }));
            refused |= matches!(event, Event::Problem(problem) if problem.reason == "too_many_tracks");
        }
    }
    assert!(refused && changes < 600, "{changes}");
}
