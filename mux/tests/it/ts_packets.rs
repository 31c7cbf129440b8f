//! Packets that are doubled, lost, shifted, broken or surrounded by garbage.

use crate::builder::{AUDIO, Af, DATA, Head, Mux, VIDEO, at, import, import_with, without_time};
use crate::media::{adts, h264};
use crate::ts_clips::clip;
use moqgate_mux::ts::{ImportConfig, Importer};

const KLV: &[u8] = b"\x05\x04KLVA";

fn data() -> Mux {
    let mut mux = Mux::with_program(&[(0x0f, AUDIO, &[]), (6, DATA, KLV)]);
    mux.pes(AUDIO, at(0xc0, 90_000), &adts::frame(0x21, 100, 2));
    mux
}

#[test]
fn line_04_a_second_copy_with_a_new_pcr_is_dropped() {
    let mut mux = Mux::with_program(&[(0x1b, VIDEO, &[])]);
    let head = Head { af: Af { pcr: Some(80_000), ..Af::default() }, ..at(0xe0, 90_000) };
    mux.pes(VIDEO, head, &h264::key());
    let mut copy = mux.last();
    // The PCR's base: adaptation field bytes 2 to 6.
    copy[6..11].copy_from_slice(&[0, 0, 0x9c, 0x80, 0x7e]);
    mux.bytes.extend(copy);
    mux.pes(VIDEO, at(0xe0, 93_600), &h264::delta(1));
    let imported = import(&mux.bytes);
    assert_eq!((imported.stats.duplicates, imported.stats.continuity_errors), (1, 0));
    assert_eq!(imported.frames(VIDEO).len(), 2);
    assert_eq!(h264::types(imported.media(VIDEO)[0]).iter().filter(|&&kind| kind == 5).count(), 1);
}

#[test]
fn line_05_fifteen_lost_packets_are_no_duplicate() {
    let mut mux = data();
    mux.pes(DATA, without_time(0xbd), &[1; 100]);
    mux.lose(DATA, 15);
    mux.pes(DATA, without_time(0xbd), &[2; 100]);
    let imported = import(&mux.bytes);
    assert_eq!((imported.stats.duplicates, imported.stats.continuity_errors), (0, 1));
    assert_eq!(imported.media(DATA), [&[1; 100], &[2; 100]]);
}

#[test]
fn line_06_dirty_start_misalignment_and_false_sync_bytes() {
    let file = clip("bframes.ts");
    let whole = import(&file);
    // In the middle of a packet, in the middle of a group of pictures.
    let late = import(&file[188 * 700 + 77..]);
    assert_eq!(late.suffixes().len(), 2);
    assert!(late.stats.lost_bytes < 188);
    for track in late.tracks() {
        let pid = track.origin.as_ref().unwrap().pid;
        assert!(late.frames(pid).len() > whole.frames(pid).len() / 2);
        let tail = whole.media(pid);
        assert!(late.media(pid).iter().rev().zip(tail.iter().rev()).all(|(one, other)| one == other));
    }
    // Bytes that look like sync, between packets and instead of them.
    let mut bytes = vec![0x47; 150];
    bytes.extend(&file[..188 * 900]);
    bytes.extend([0x47, 0, 0x47, 0x47, 1, 2, 3]);
    bytes.extend(&file[188 * 900..]);
    let dirty = import(&bytes);
    assert_eq!(dirty.stats.resyncs, 1);
    assert_eq!(dirty.suffixes(), whole.suffixes());
}

#[test]
fn line_25_no_pcr_rare_tables_nulls_and_broken_packets() {
    let mut mux = Mux::with_program(&[(0x1b, VIDEO, &[]), (0x0f, AUDIO, &[])]);
    for frame in 0..100u64 {
        let unit = if frame % 25 == 0 { h264::key() } else { h264::delta(frame as u32) };
        mux.pes(VIDEO, at(0xe0, 90_000 + frame * 3600), &unit);
        mux.pes(AUDIO, at(0xc0, 90_000 + frame * 1920), &adts::frame(0x21, 50, 2));
        mux.packet(0x1fff, false, Af::default(), &[0xff; 184]);
        // transport_error_indicator on a pid that matters: the packet must not be read.
        let mut broken = vec![0x47, 0x80 | (VIDEO >> 8) as u8, VIDEO as u8, 0x10];
        broken.resize(188, 0);
        mux.bytes.extend(broken);
        // A reserved adaptation_field_control.
        let mut reserved = vec![0x47, 1, 0, 0x00];
        reserved.resize(188, 0);
        mux.bytes.extend(reserved);
    }
    let imported = import(&mux.bytes);
    assert_eq!(imported.stats.transport_errors, 100);
    assert_eq!(imported.stats.malformed_packets, 100);
    assert_eq!(imported.stats.continuity_errors, 0);
    assert_eq!((imported.frames(VIDEO).len(), imported.frames(AUDIO).len()), (100, 100));
}

#[test]
fn packets_of_192_and_204_bytes() {
    let file = clip("latm.ts");
    let plain = import(&file);
    for (before, after) in [(4, 0), (0, 16)] {
        let mut bytes = Vec::new();
        for packet in file.chunks(188) {
            bytes.extend(vec![0x12; before]);
            bytes.extend(packet);
            bytes.extend(vec![0x34; after]);
        }
        assert_eq!(import_with(ImportConfig::default(), &bytes, 1000).events, plain.events);
    }
}

#[test]
fn scrambled_streams_are_reported_once_and_give_nothing() {
    let mut mux = data();
    for number in 0..5u8 {
        let start = mux.bytes.len();
        mux.pes(DATA, without_time(0xbd), &[number; 30]);
        mux.bytes[start + 3] |= 0x80;
    }
    let imported = import(&mux.bytes);
    assert!(imported.frames(DATA).is_empty());
    assert_eq!(imported.stats.scrambled_packets, 5);
    assert_eq!(imported.stats.last_problem, Some("scrambled"));
}

#[test]
fn a_picture_without_length_comes_out_when_nothing_follows() {
    let mut mux = Mux::with_program(&[(0x1b, VIDEO, &[])]);
    mux.pes(VIDEO, at(0xe0, 90_000), &h264::key());
    mux.packet(0x1fff, false, Af::default(), &[0xff; 184]);
    let start = std::time::Instant::now();
    let mut importer = Importer::new(ImportConfig::default());
    importer.push(&mux.bytes);
    importer.handle_timeout(start);
    assert_eq!(importer.poll(), None, "the next packet may still continue it");
    let deadline = importer.poll_timeout().unwrap();
    assert!(deadline > start && deadline <= start + std::time::Duration::from_millis(200));
    importer.handle_timeout(deadline);
    assert_eq!(std::iter::from_fn(|| importer.poll()).count(), 2, "the track and its first frame");
    assert_eq!(importer.poll_timeout(), None);
    importer.finish();
    assert_eq!(std::iter::from_fn(|| importer.poll()).count(), 1, "the end of the track");
}

#[test]
fn pictures_come_with_their_last_packet_once_the_muxer_is_known() {
    let mut importer = Importer::new(ImportConfig::default());
    let mut mux = Mux::with_program(&[(0x1b, VIDEO, &[])]);
    let mut late = Vec::new();
    for frame in 0..40u64 {
        mux.bytes.clear();
        if frame == 0 {
            mux = Mux::with_program(&[(0x1b, VIDEO, &[])]);
        }
        let unit = if frame == 0 { h264::key() } else { h264::delta(frame as u32) };
        mux.pes(VIDEO, at(0xe0, 90_000 + frame * 3600), &unit);
        mux.packet(0x1fff, false, Af::default(), &[0xff; 184]);
        mux.packet(0x1fff, false, Af::default(), &[0xff; 184]);
        mux.packet(0x1fff, false, Af::default(), &[0xff; 184]);
        importer.push(&mux.bytes);
        let newest = std::iter::from_fn(|| importer.poll()).last();
        if !format!("{newest:?}").contains(&format!("pts: {:?}", stamp(frame))) {
            late.push(frame);
        }
    }
    assert!(late.iter().all(|&frame| frame < 12), "late: {late:?}");
}

#[test]
fn a_sender_that_stalls_inside_of_a_picture_does_not_cut_it() {
    let mut mux = Mux::with_program(&[(0x1b, VIDEO, &[])]);
    mux.pes(VIDEO, at(0xe0, 90_000), &h264::key());
    for frame in 1..12 {
        mux.pes(VIDEO, at(0xe0, 90_000 + frame * 3600), &h264::delta(frame as u32));
    }
    let whole = mux.bytes.len();
    let mut large = h264::delta(12);
    large.extend([0x55; 1000]);
    mux.pes(VIDEO, at(0xe0, 90_000 + 12 * 3600), &large);
    let (begin, rest) = mux.bytes.split_at(whole + 3 * 188);
    let mut importer = Importer::new(ImportConfig::default());
    let mut now = std::time::Instant::now();
    importer.push(begin);
    for _ in 0..20 {
        importer.handle_timeout(now);
        now += std::time::Duration::from_millis(200);
    }
    importer.push(rest);
    importer.finish();
    assert_eq!((importer.stats().damaged_pes, importer.stats().last_problem), (0, None));
    let events = std::iter::from_fn(|| importer.poll()).count();
    assert_eq!(events, 15, "a track, thirteen frames and an end");
}

fn stamp(frame: u64) -> moqgate_core::Timestamp {
    moqgate_core::Timestamp::from_micros(10_000_000 + frame * 40_000)
}
