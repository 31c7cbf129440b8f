//! Transport streams out.

use moqgate_mux::event::CodecConfig;
use proptest::prelude::*;

use crate::builder::{AUDIO, DATA, Imported, Mux, VIDEO, at, hex, import, pmt, seal};
use crate::export::{Scratch, export, hashes, run, tool};
use crate::media::{adts, h264};
use crate::ts_clips::clip;

const CLIPS: [&str; 8] = ["bframes", "demo", "hevc", "latm", "mp2", "ac3", "eac3", "opus"];

/// Presentation time in ticks, keyframe, bytes.
fn frames(imported: &Imported, pid: u16) -> Vec<(i64, bool, Vec<u8>)> {
    let times = imported.display_ticks(pid);
    let frames = imported.frames(pid);
    times.into_iter().zip(frames).map(|(time, frame)| (time, frame.keyframe, plain(frame.media()))).collect()
}

/// Without a delimiter, which the exporter adds and importers keep.
fn plain(media: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 1, 0x09][..], &[0, 0, 0, 1, 0x46, 0x01]]
        .iter()
        .find_map(|delimiter| media.strip_prefix(*delimiter))
        .map_or(media, |rest| &rest[1..])
        .to_vec()
}

#[test]
fn every_clip_comes_back_the_same() {
    for name in CLIPS {
        let before = import(&clip(&format!("{name}.ts")));
        let after = import(&export(&before.events));
        assert_eq!(before.suffixes(), after.suffixes(), "{name}");
        assert_eq!(after.stats.continuity_errors, 0);
        assert_eq!(after.discontinuities(), 0, "{name}");
        for track in before.tracks() {
            let pid = track.origin.as_ref().unwrap().pid;
            let (old, new) = (frames(&before, pid), frames(&after, pid));
            assert_eq!(old.len(), new.len(), "{name} {pid:x}");
            for (number, (old, new)) in old.iter().zip(&new).enumerate() {
                assert!((old.0 - new.0).abs() <= 2, "{name} {pid:x} {number}: {} {}", old.0, new.0);
                assert_eq!((old.1, &old.2), (new.1, &new.2), "{name} {pid:x} {number}");
            }
            let decode = after.decode_ticks(pid);
            assert!(decode.windows(2).all(|pair| pair[0] < pair[1]), "{name} {pid:x}");
            match (before.configs(pid)[0], after.configs(pid)[0]) {
                (CodecConfig::Audio(old), CodecConfig::Audio(new)) => {
                    assert_eq!(
                        (&old.codec_string, old.sample_rate, old.channels),
                        (&new.codec_string, new.sample_rate, new.channels)
                    );
                }
                (old, new) => assert_eq!(old.suffix(), new.suffix()),
            }
        }
    }
}

#[test]
fn line_24_ffmpeg_decodes_the_same_frames_and_says_nothing() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    for name in CLIPS {
        let original = clip(&format!("{name}.ts"));
        let exported = Scratch::new(&format!("{name}.ts"), &export(&import(&original).events));
        let original = Scratch::new(&format!("{name}-original.ts"), &original);
        for stream in ["0:v", "0:a"] {
            let (old, new) =
                (hashes(&ffmpeg, original.path(), stream), hashes(&ffmpeg, exported.path(), stream));
            assert!(!old.is_empty());
            assert_eq!(old.len(), new.len(), "{name} {stream}");
            assert_eq!(old, new, "{name} {stream}");
        }
        run(
            &ffmpeg,
            &["-v", "error", "-nostdin", "-i", exported.path(), "-map", "0", "-c", "copy", "-f", "null", "-"],
        );
    }
}

/// PTS and DTS of every packet as ffprobe reads it, after the first DTS.
fn packets(ffprobe: &std::path::Path, file: &str, stream: &str) -> Vec<(i64, i64)> {
    let entries = "packet=pts,dts";
    let arguments =
        ["-v", "error", "-select_streams", stream, "-show_entries", entries, "-of", "csv=p=0", file];
    let text = run(ffprobe, &arguments);
    let number = |text: &str| text.trim().parse::<i64>().unwrap();
    let rows: Vec<Vec<i64>> = text
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.split(',').filter(|field| !field.is_empty()).map(number).collect())
        .collect();
    rows.iter().map(|row| (row[0] - rows[0][1], row[1] - rows[0][1])).collect()
}

#[test]
fn line_24_decoding_times_are_those_of_the_source() {
    let Some(ffprobe) = tool("ffprobe") else { return };
    for name in ["bframes", "demo", "hevc"] {
        let original = clip(&format!("{name}.ts"));
        let exported = Scratch::new(&format!("{name}-probe.ts"), &export(&import(&original).events));
        let original = Scratch::new(&format!("{name}-source.ts"), &original);
        let (old, new) =
            (packets(&ffprobe, original.path(), "v:0"), packets(&ffprobe, exported.path(), "v:0"));
        assert_eq!(old.len(), new.len());
        for (number, (old, new)) in old.iter().zip(&new).enumerate() {
            assert!(
                (old.0 - new.0).abs() <= 2 && (old.1 - new.1).abs() <= 2,
                "{name} {number}: {old:?} {new:?}"
            );
        }
    }
}

#[test]
fn lengths_with_a_record_become_start_codes() {
    use moqgate_core::Timestamp;
    use moqgate_mux::codec::legacy_payload;
    use moqgate_mux::flv::{Capabilities, TagKind};
    let before = import(&clip("bframes.ts"));
    let tags = crate::flv::export(&before.events, Capabilities::legacy());
    let pictures: Vec<_> = tags.iter().filter(|tag| tag.kind == TagKind::Video).collect();
    let mut catalog = crate::export::catalog(&crate::export::broadcast(&before.events).0);
    let rendition = catalog.video.renditions.values_mut().next().unwrap();
    rendition.codec = rendition.codec.replace("avc3", "avc1");
    rendition.description = Some(pictures[0].body.slice(5..));
    let mut exporter = moqgate_mux::ts::Exporter::new(moqgate_mux::ts::ExportConfig::default());
    exporter.catalog(&catalog);
    let name = catalog.video.renditions.keys().next().unwrap();
    for tag in pictures.iter().filter(|tag| tag.body[1] == 1) {
        let composition = u64::from(tag.body[3]) << 8 | u64::from(tag.body[4]);
        let pts = Timestamp::from_micros((u64::from(tag.timestamp_ms) + composition) * 1000);
        exporter.push(name, pts, tag.body[0] == 0x17, &legacy_payload(pts, &[&tag.body[5..]]));
    }
    exporter.finish();
    let bytes: Vec<u8> = std::iter::from_fn(|| exporter.poll()).flatten().collect();
    let after = import(&bytes);
    let media = |imported: &Imported| imported.media(VIDEO).into_iter().map(plain).collect::<Vec<_>>();
    assert_eq!(media(&after).len(), 300);
    assert!(media(&after) == media(&before));
}

#[test]
fn a_time_line_that_begins_anew_is_told() {
    use moqgate_mux::event::Event;
    let before = import(&clip("demo.ts"));
    let again: Vec<Event> = before
        .events
        .iter()
        .chain(&before.events)
        .filter(|event| !matches!(event, Event::TrackEnd(_)))
        .cloned()
        .collect();
    let after = import(&export(&again));
    assert_eq!(after.discontinuities(), 1);
    assert!(after.frames(VIDEO).len() > 595, "{}", after.frames(VIDEO).len());
}

/// Base of every PCR, and of the last one before each PAT.
fn clocks(bytes: &[u8]) -> (Vec<i64>, Vec<i64>) {
    let (mut clocks, mut tables) = (Vec::new(), Vec::new());
    for packet in bytes.chunks(188) {
        let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
        if packet[3] & 0x20 != 0 && packet[4] >= 7 && packet[5] & 0x10 != 0 {
            clocks.push(packet[6..11].iter().fold(0i64, |time, byte| time << 8 | i64::from(*byte)) >> 7);
        }
        if pid == 0 {
            tables.extend(clocks.last());
        }
    }
    (clocks, tables)
}

#[test]
fn clocks_and_tables_come_often_enough() {
    // Pictures at 5 per second: the sound between them brings the clock.
    let mut mux = Mux::with_program(&[(0x1b, VIDEO, &[]), (0x0f, AUDIO, &[])]);
    for number in 0..200u64 {
        if number % 9 == 0 {
            let unit = if number == 0 { h264::key() } else { h264::delta(number as u32) };
            mux.pes(VIDEO, at(0xe0, 90_000 + number * 1920), &unit);
        }
        mux.pes(AUDIO, at(0xc0, 90_000 + number * 1920), &adts::frame(number as u8, 200, 2));
    }
    for bytes in [clip("bframes.ts"), mux.bytes] {
        let (clocks, tables) = clocks(&export(&import(&bytes).events));
        assert!(clocks.len() > 80);
        for pair in clocks.windows(2) {
            assert!((1..=3_600 + 2 * 1920).contains(&(pair[1] - pair[0])), "{pair:?}");
        }
        for pair in tables.windows(2) {
            assert!(pair[1] - pair[0] <= 18_000, "{pair:?}");
        }
    }
}

#[test]
fn verbatim_tracks_come_back_with_their_descriptors() {
    let klv = hex("060e2b34020b01010e01030101000000020100");
    let splice =
        seal(hex("fc302500000000000000fff01405000000017feffe2d142b00fe0123d3080001010100 00")[..36].to_vec());
    let streams: [(u8, u16, &[u8]); 4] = [
        (0x1b, VIDEO, &[]),
        (0x0f, AUDIO, b"\x0a\x04deu\0"),
        (0x06, DATA, b"\x05\x04KLVA"),
        (0x86, 0x103, b"\x8a\x01\x02"),
    ];
    let mut mux = Mux::default();
    mux.section(0, &crate::builder::pat(0, &[(1, 0x1000)]));
    mux.section(0x1000, &pmt(0, 1, VIDEO, b"\x05\x04CUEI", &streams));
    for number in 0..50u32 {
        let time = 90_000 + u64::from(number) * 3600;
        let unit = if number % 25 == 0 { h264::key() } else { h264::delta(number) };
        mux.pes(VIDEO, at(0xe0, time), &unit);
        mux.pes(AUDIO, at(0xc0, time), &adts::frame(number as u8, 300, 2));
        mux.pes(DATA, at(0xbd, time), &klv);
        if number == 20 {
            mux.section(0x103, &splice);
        }
    }
    let before = import(&mux.bytes);
    let after = import(&export(&before.events));
    assert_eq!(before.suffixes(), after.suffixes());
    for (old, new) in before.tracks().iter().zip(after.tracks()) {
        assert_eq!(old.language, new.language);
        let (old, new) = (old.origin.as_ref().unwrap(), new.origin.as_ref().unwrap());
        assert_eq!(old, new);
    }
    assert_eq!(after.media(DATA), vec![&klv[..]; 50]);
    // The splice names the same moment of the pictures' time line, and its checksum holds.
    assert_eq!(after.media(0x103), before.media(0x103));
    assert_eq!(before.media(0x103).len(), 1);
}

#[test]
fn line_41_sound_alone_and_pictures_alone() {
    let mut mux = Mux::with_program(&[(0x0f, AUDIO, &[])]);
    for number in 0..200 {
        mux.pes(AUDIO, at(0xc0, 90_000 + number * 1920), &adts::frame(number as u8, 200, 2));
    }
    let before = import(&mux.bytes);
    let after = import(&export(&before.events));
    let (clocks, _) = clocks(&export(&before.events));
    assert!(clocks.len() == 200 && clocks.windows(2).all(|pair| pair[1] - pair[0] <= 1921));
    assert_eq!(before.media(AUDIO), after.media(AUDIO));
    assert_eq!(before.decode_ticks(AUDIO), after.decode_ticks(AUDIO));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn anything_may_be_in_a_frame(units in prop::collection::vec((0u64..20_000_000, any::<bool>(), 0usize..2, prop::collection::vec(any::<u8>(), 0..2000)), 1..40)) {
        use moqgate_core::Timestamp;
        use moqgate_mux::catalog::Catalog;
        let catalog = Catalog::from_json(br#"{"video":{"renditions":{"v":{"codec":"avc3.64001f"}}},"audio":{"renditions":{"a":{"codec":"mp4a.40.2","sampleRate":48000,"numberOfChannels":2,"description":"1190"}}}}"#).unwrap();
        let mut exporter = moqgate_mux::ts::Exporter::new(moqgate_mux::ts::ExportConfig::default());
        exporter.catalog(&catalog);
        for (time, keyframe, track, data) in units {
            exporter.push(["v", "a"][track], Timestamp::from_micros(time), keyframe, &data.into());
            while let Some(chunk) = exporter.poll() {
                prop_assert!(chunk.len() % 188 == 0 && chunk.chunks(188).all(|packet| packet[0] == 0x47));
            }
        }
        exporter.finish();
    }
}

#[test]
fn av1_leaves_behind_start_codes_with_its_descriptor() {
    let tags = [
        crate::flv::video(0, &hex("91 61763031 1200 0a0b 0200000521e7f66017c002 3202 1000")),
        crate::flv::video(40, &hex("a1 61763031 1200 1a01e8")),
        crate::flv::audio(0, &hex("91 4f707573 fc7e02")),
    ];
    let after = import(&export(&crate::flv::import(tags).events));
    assert_eq!(after.suffixes(), ["opus", "private"], "nobody reads it back yet");
    assert_eq!(after.media(VIDEO)[1], hex("000001 1a01e8"));
    let origin = after.tracks()[1].origin.as_ref().unwrap();
    assert_eq!((origin.stream_type, &origin.descriptors[..]), (0x06, &b"\x05\x04AV01"[..]));
}
