//! What holds for any bytes.

use std::collections::HashSet;

use moqgate_mux::event::Event;
use moqgate_mux::ts::ImportConfig;
use proptest::prelude::*;

use crate::builder::{AUDIO, DATA, Imported, Mux, VIDEO, at, import_with};
use crate::media::{adts, h264};
use crate::ts_clips::clip;

fn mixed() -> Vec<u8> {
    let mut mux = Mux::with_program(&[(0x1b, VIDEO, &[]), (0x0f, AUDIO, &[]), (6, DATA, b"\x05\x04KLVA")]);
    for number in 0..40u64 {
        let unit = if number % 8 == 0 { h264::key() } else { h264::delta(number as u32) };
        mux.pes(VIDEO, at(0xe0, 90_000 + number * 3600), &unit);
        mux.pes(AUDIO, at(0xc0, 90_000 + number * 1920), &adts::frame(number as u8, 300, 2));
        mux.pes(DATA, at(0xbd, 90_000 + number * 3600), &[number as u8; 20]);
        if number % 10 == 9 {
            mux.tables(&[(0x1b, VIDEO, &[]), (0x0f, AUDIO, &[]), (6, DATA, b"\x05\x04KLVA")]);
        }
    }
    mux.bytes
}

/// Every frame follows its track and comes before the track's end.
fn check_order(imported: &Imported) {
    let mut live = HashSet::new();
    let mut seen = HashSet::new();
    for event in &imported.events {
        match event {
            Event::Track(track) => {
                assert!(seen.insert(track.id), "{track:?} twice");
                live.insert(track.id);
            }
            Event::Frame { track, .. } | Event::Config { track, .. } => {
                assert!(live.contains(track), "{track:?}")
            }
            Event::TrackEnd(track) => assert!(live.remove(track), "{track:?}"),
            Event::Discontinuity | Event::Problem(_) => {}
        }
    }
    assert!(live.is_empty(), "{live:?} without an end");
}

fn import_in(bytes: &[u8], chunk: usize) -> Imported {
    import_with(ImportConfig::default(), bytes, chunk)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chunking_changes_nothing(chunk in 1usize..3000, cut in 0usize..2000, flips in flips()) {
        let bytes = damage(&mixed()[cut..], &flips);
        let whole = import_in(&bytes, usize::MAX);
        prop_assert_eq!(import_in(&bytes, chunk), whole);
    }

    #[test]
    fn damaged_streams_keep_the_rules(flips in flips(), cut in 0usize..2000, drop in 0usize..40) {
        let mut bytes = damage(&mixed()[cut..], &flips);
        let end = (5000 + drop * 7).min(bytes.len());
        bytes.drain(5000.min(end)..end);
        check_order(&import_in(&bytes, 1316));
    }

    #[test]
    fn lost_datagrams_leave_whole_frames_at_their_own_times(lost in prop::collection::vec(any::<prop::sample::Index>(), 1..40)) {
        let file = clip("bframes.ts");
        let whole = import_in(&file, 1316);
        let mut datagrams: Vec<_> = file.chunks(1316).collect();
        for index in lost {
            // The first ones say where time begins.
            let place = 20 + index.index(datagrams.len() - 20);
            datagrams.remove(place);
        }
        let imported = import_in(&datagrams.concat(), 1316);
        prop_assert_eq!(imported.suffixes(), whole.suffixes());
        prop_assert_eq!((imported.discontinuities(), imported.stats.misplaced_units), (0, 0));
        for track in whole.tracks() {
            let pid = track.origin.as_ref().unwrap().pid;
            let all = whole.frames(pid);
            for frame in imported.frames(pid) {
                let same = all.iter().find(|other| other.pts.as_micros().abs_diff(frame.pts.as_micros()) < 1000);
                prop_assert!(same.is_some_and(|other| other.media() == frame.media()), "pid {} at {:?}", pid, frame.pts);
            }
        }
    }

    #[test]
    fn packets_of_noise_keep_the_rules(seed in prop::collection::vec(any::<u8>(), 188..4000)) {
        check_order(&import_in(&seed, 1316));
        // The same as payload of packets on pids that matter.
        let mut mux = Mux::with_program(&[(0x1b, VIDEO, &[]), (0x24, 0x110, &[]), (0x0f, AUDIO, &[]), (0x11, 0x111, &[]),
            (3, 0x112, &[]), (0x81, 0x113, &[]), (6, 0x114, b"\x05\x04Opus\x7f\x02\x80\x02"), (0x86, DATA, &[])]);
        for (number, chunk) in seed.chunks(150).enumerate() {
            let pid = [0, 0x1000, VIDEO, 0x110, AUDIO, 0x111, 0x112, 0x113, 0x114, DATA][number % 10];
            if number % 3 == 0 && pid >= VIDEO && pid != DATA {
                mux.pes(pid, at(0xe0, 90_000 + number as u64 * 1000), chunk);
            } else {
                mux.packet(pid, number % 2 == 0, Default::default(), chunk);
            }
        }
        check_order(&import_in(&mux.bytes, 777));
    }
}

fn flips() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..60)
}

fn damage(bytes: &[u8], flips: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (index, bit) in flips {
        let at = index.index(bytes.len());
        bytes[at] ^= 1 << bit;
    }
    bytes
}
