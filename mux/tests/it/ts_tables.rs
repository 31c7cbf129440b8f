//! Tables in every legal and many an illegal shape.

use moqgate_mux::event::Event;
use moqgate_mux::ts::{ImportConfig, ProgramChoice};

use crate::builder::{AUDIO, Af, DATA, Mux, PMT, VIDEO, at, import, import_with, pat, pmt, without_time};
use crate::media::{adts, h264};

fn sound(mux: &mut Mux, pid: u16, number: u64) {
    mux.pes(pid, at(0xc0, 90_000 + number * 1920), &adts::frame(0x21, 60, 2));
}

#[test]
fn line_07_tables_over_packets_with_pointers_and_bad_checksums() {
    // A PMT of 28 sound tracks with 30 bytes of descriptors each needs six packets.
    let descriptors = [&b"\x0a\x04eng\x00"[..], b"\x09\x16", &[0; 22]].concat();
    let streams: Vec<_> = (0..28).map(|index| (0x0f, 0x200 + index, &descriptors[..])).collect();
    let long = pmt(0, 1, 0x200, &[], &streams);
    assert!(long.len() > 5 * 184);
    let mut mux = Mux::default();
    // The PAT behind the tail of a section whose start was never seen, then a good one between two bad ones.
    let mut good = pat(0, &[(0, 0x10), (1, PMT)]);
    let mut bad = pat(1, &[(1, 0x1234)]);
    *bad.last_mut().unwrap() ^= 1;
    let payload = [&[20][..], &[0xaa; 20], &bad, &good, &bad].concat();
    mux.payloads(0, &payload);
    // Half of the PMT; it ends in front of a pointer, and another table follows in the same packet.
    let (head, tail) = long.split_at(183 + 184 * 4);
    mux.packet(PMT, true, Af::default(), &[&[0][..], &head[..183]].concat());
    for chunk in head[183..].chunks(184) {
        mux.packet(PMT, false, Af::default(), chunk);
    }
    good[0] = 0x42;
    let mut last = [&[tail.len() as u8][..], tail, &good].concat();
    last.resize(184, 0xff);
    mux.packet(PMT, true, Af::default(), &last);
    for pid in [0x200, 0x210, 0x21b] {
        sound(&mut mux, pid, 0);
    }
    let imported = import(&mux.bytes);
    assert_eq!(imported.suffixes(), ["aac"; 3]);
    assert!(imported.tracks().iter().all(|track| track.language.as_deref() == Some("eng")));
    assert_eq!(imported.stats.bad_sections, 3, "two PATs and the table with a foreign id");
}

#[test]
fn line_08_the_program_changes_and_a_second_one_appears() {
    let mut mux = Mux::with_program(&[(0x0f, AUDIO, &[]), (6, DATA, b"\x05\x04KLVA")]);
    sound(&mut mux, AUDIO, 0);
    mux.pes(DATA, without_time(0xbd), b"klv");
    // Sound stays, data becomes splices (with the registration this time), a second sound comes.
    let splices =
        pmt(1, 1, AUDIO, b"\x05\x04CUEI", &[(0x0f, AUDIO, &[]), (0x86, DATA, &[]), (0x0f, 0x103, &[])]);
    mux.section(PMT, &splices);
    sound(&mut mux, AUDIO, 1);
    sound(&mut mux, 0x103, 1);
    // The same version with other contents: the second sound goes.
    mux.section(PMT, &pmt(1, 1, AUDIO, b"\x05\x04CUEI", &[(0x0f, AUDIO, &[])]));
    sound(&mut mux, AUDIO, 2);
    sound(&mut mux, 0x103, 2);
    // A second program is not ours.
    mux.section(0, &pat(1, &[(1, PMT), (2, 0x1001)]));
    mux.section(0x1001, &pmt(0, 2, 0x300, &[], &[(0x0f, 0x300, &[])]));
    sound(&mut mux, 0x300, 3);
    sound(&mut mux, AUDIO, 3);
    let imported = import(&mux.bytes);
    assert_eq!(imported.suffixes(), ["aac", "klv", "aac"]);
    assert_eq!(imported.frames(AUDIO).len(), 4, "undisturbed");
    assert_eq!(imported.frames(0x103).len(), 1);
    let ends: Vec<_> = imported.events.iter().filter(|event| matches!(event, Event::TrackEnd(_))).collect();
    assert_eq!(ends.len(), 3, "data, the second sound, and at the end the first");
    assert_eq!((imported.stats.programs, imported.stats.program), (2, Some(1)));
    assert_eq!(imported.stats.unknown_pid_packets, 2);
    assert_eq!(imported.discontinuities(), 0);
}

#[test]
fn line_09_one_program_of_several_is_taken() {
    let mut mux = Mux::default();
    mux.section(0, &pat(0, &[(0, 0x10), (7, 0x1007), (8, 0x1008), (9, 0x1009)]));
    mux.section(0x1007, &pmt(0, 7, 0x1fff, &[], &[(0x05, 0x700, &[])]));
    mux.section(0x1008, &pmt(0, 8, 0x800, &[], &[(0x0f, 0x800, &[])]));
    mux.section(0x1009, &pmt(0, 9, 0x900, &[], &[(0x0f, 0x900, &[])]));
    for number in 0..3 {
        sound(&mut mux, 0x800, number);
        // Another program has another clock.
        mux.pes(0x900, at(0xc0, 5_000_000_000 + number * 1920), &adts::frame(0x33, 60, 2));
    }
    let first = import(&mux.bytes);
    assert_eq!((first.frames(0x800).len(), first.frames(0x900).len()), (3, 0));
    assert_eq!(first.stats.program, Some(8), "the first with something to hear");
    let told = |event: &Event| matches!(event, Event::Problem(problem) if problem.reason == "other_programs");
    assert_eq!(first.count(told), 1);
    let config = ImportConfig { program: ProgramChoice::Number(9) };
    let chosen = import_with(config, &mux.bytes, 1316);
    assert_eq!((chosen.frames(0x800).len(), chosen.frames(0x900).len()), (0, 3));
    let config = ImportConfig { program: ProgramChoice::Number(10) };
    let none = import_with(config, &mux.bytes, 1316);
    assert_eq!((none.events.len(), none.stats.programs, none.stats.program), (0, 3, None));
}

#[test]
fn a_program_under_another_number_keeps_its_tracks() {
    let mut mux = Mux::with_program(&[(0x0f, AUDIO, &[])]);
    sound(&mut mux, AUDIO, 0);
    mux.section(0, &pat(1, &[]));
    mux.section(0, &pat(2, &[(5, 0x1005)]));
    sound(&mut mux, AUDIO, 1);
    mux.section(0x1005, &pmt(0, 5, AUDIO, &[], &[(0x0f, AUDIO, &[])]));
    sound(&mut mux, AUDIO, 2);
    let imported = import(&mux.bytes);
    assert_eq!((imported.suffixes().len(), imported.frames(AUDIO).len()), (1, 3));
    assert_eq!(imported.stats.program, Some(5));
}

#[test]
fn tables_on_each_others_pids_are_ignored() {
    let mut mux = Mux::default();
    mux.section(0, &pat(0, &[(1, PMT), (2, 0), (3, 0x1fff)]));
    mux.section(
        PMT,
        &pmt(0, 1, PMT, &[], &[(0x0f, PMT, &[]), (0x0f, 0, &[]), (0x0f, 0x1fff, &[]), (0x0f, AUDIO, &[])]),
    );
    sound(&mut mux, AUDIO, 0);
    let imported = import(&mux.bytes);
    assert_eq!(imported.suffixes(), ["aac"]);
}

#[test]
fn a_map_that_changes_for_ever_ends_in_a_bounded_broadcast() {
    let mut mux = Mux::default();
    mux.section(0, &pat(0, &[(1, PMT)]));
    for round in 0..700u16 {
        let pid = 0x100 + round;
        mux.section(PMT, &pmt((round % 32) as u8, 1, pid, &[], &[(0x0f, pid, &[])]));
        sound(&mut mux, pid, u64::from(round));
    }
    let imported = import(&mux.bytes);
    assert_eq!(imported.tracks().len(), 512);
    assert_eq!(imported.stats.last_problem, Some("too_many_tracks"));
}

#[test]
fn pictures_before_tables_wait() {
    let mut mux = Mux::default();
    mux.pes(VIDEO, at(0xe0, 90_000), &h264::key());
    mux.tables(&[(0x1b, VIDEO, &[])]);
    mux.pes(VIDEO, at(0xe0, 93_600), &h264::key());
    assert_eq!(import(&mux.bytes).frames(VIDEO).len(), 1);
}
