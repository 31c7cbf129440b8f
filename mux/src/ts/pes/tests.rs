use super::super::packet::Adaptation;
use super::*;

/// One packet for the assembler: payload, unit start, stuffing behind the fields of the adaptation field.
struct Piece<'a>(&'a [u8], bool, bool);

fn run(assembler: &mut Assembler, pieces: &[Piece<'_>]) -> (Vec<Pes>, Vec<Fault>) {
    let (mut units, mut faults) = (Vec::new(), Vec::new());
    for &Piece(payload, unit_start, stuffed) in pieces {
        let packet = Packet {
            pid: 0x100,
            error: false,
            unit_start,
            scrambled: false,
            continuity: 0,
            adaptation: Adaptation { stuffed, ..Adaptation::default() },
            payload: Some(payload),
        };
        faults.extend(assembler.push(&packet, payload, &mut |pes| units.push(pes)).err());
    }
    (units, faults)
}

fn pes(length: u16, header: &[u8], body: &[u8]) -> Vec<u8> {
    [&[0, 0, 1, 0xe0], &length.to_be_bytes()[..], header, body].concat()
}

const BARE: &[u8] = &[0x80, 0, 0];

fn bodies(units: &[Pes]) -> Vec<&[u8]> {
    units.iter().map(|unit| &unit.payload[..]).collect()
}

#[test]
fn timestamps_of_ffmpeg() {
    let header = [0x80, 0xc0, 0x0a, 0x31, 0x00, 0x09, 0x10, 0xa1, 0x11, 0x00, 0x07, 0xd8, 0x61];
    let HeaderParse::Done(parsed, length) = Header::parse(&pes(0, &header, b"x")) else {
        panic!("no header")
    };
    assert_eq!(parsed, Header { pts: Some(133_200), dts: Some(126_000), declared: None });
    assert_eq!(length, 19);
    assert_eq!(timestamp(&[0x21, 0x00, 0x03, 0x99, 0x71]), 52_408);
    assert_eq!(timestamp(&[0x21, 0x00, 0x07, 0xdc, 0xf3]), 126_585);
    assert_eq!(timestamp(&[0x2f, 0xff, 0xff, 0xff, 0xff]), (1 << 33) - 1);
}

#[test]
fn forbidden_and_cut_timestamp_flags_are_no_timestamps() {
    for (flags, fields) in [(0x40, &[0; 5][..]), (0x80, &[0x21, 0, 1, 0]), (0x00, &[])] {
        let header = [&[0x80, flags, fields.len() as u8][..], fields].concat();
        let HeaderParse::Done(parsed, _) = Header::parse(&pes(0, &header, b"")) else { panic!("no header") };
        assert_eq!((parsed.pts, parsed.dts), (None, None), "{flags:x}");
    }
}

#[test]
fn a_header_over_two_packets() {
    let bytes = pes(0, &[&[0x80, 0x00, 200][..], &[0xff; 200]].concat(), b"media");
    for cut in [1, 3, 6, 8, 9, 100, 209] {
        let mut assembler = Assembler::new(0x100, Class::Video);
        let (mut units, faults) =
            run(&mut assembler, &[Piece(&bytes[..cut], true, false), Piece(&bytes[cut..], false, false)]);
        assembler.finish(&mut |pes| units.push(pes)).unwrap();
        assert!(faults.is_empty());
        assert_eq!(bodies(&units), [b"media"], "cut {cut}");
    }
}

#[test]
fn bounded_sound_comes_at_once_and_the_rest_is_cut() {
    let mut assembler = Assembler::new(0x100, Class::Audio);
    let bytes = pes(8, BARE, b"soundtail");
    let (units, faults) = run(&mut assembler, &[Piece(&bytes, true, false), Piece(b"more", false, false)]);
    assert_eq!(bodies(&units), [b"sound"]);
    assert!(faults.is_empty());
}

#[test]
fn short_sound_is_damaged_and_short_data_is_dropped() {
    for (class, units_left) in [(Class::Audio, 1), (Class::Data, 0), (Class::Video, 1)] {
        let mut assembler = Assembler::new(0x100, class);
        let bytes = pes(50, BARE, b"short");
        let (units, faults) = run(&mut assembler, &[Piece(&bytes, true, false), Piece(&bytes, true, false)]);
        assert_eq!(units.len(), units_left, "{class:?}");
        assert_eq!(faults.is_empty(), class == Class::Video);
        assert!(units.iter().all(|unit| unit.damaged == (class == Class::Audio)));
    }
}

#[test]
fn video_of_unknown_length_ends_at_the_next_start_until_its_end_is_learned() {
    let mut assembler = Assembler::new(0x100, Class::Video);
    let bytes = pes(0, BARE, b"picture");
    for _ in 0..END_HINTS_MIN {
        let (units, _) = run(&mut assembler, &[Piece(&bytes, true, true)]);
        assert!(units.len() <= 1);
    }
    let (units, _) = run(&mut assembler, &[Piece(&bytes, true, true)]);
    assert_eq!(units.len(), 2, "the one before and this one");
    let (units, _) = run(&mut assembler, &[Piece(&bytes, true, true)]);
    assert_eq!(units.len(), 1, "at once");
}

#[test]
fn an_end_that_was_believed_wrongly_is_not_believed_again() {
    let mut assembler = Assembler::new(0x100, Class::Video);
    let bytes = pes(0, BARE, b"picture");
    for _ in 0..END_HINTS_MIN + 2 {
        run(&mut assembler, &[Piece(&bytes, true, true)]);
    }
    let (units, _) = run(&mut assembler, &[Piece(b"goes on", false, false), Piece(&bytes, true, true)]);
    assert_eq!(bodies(&units), [b"goes on"]);
    assert!(units[0].damaged && units[0].pts.is_none());
    let (units, _) = run(&mut assembler, &[Piece(&bytes, true, true)]);
    assert_eq!((units.len(), units[0].damaged), (1, false), "one late, not damaged");
}

#[test]
fn a_gap_damages_the_open_unit_and_marks_the_next() {
    let bytes = pes(0, BARE, b"picture");
    let mut assembler = Assembler::new(0x100, Class::Video);
    run(&mut assembler, &[Piece(&bytes, true, false)]);
    assembler.lose(false);
    let (units, faults) = run(&mut assembler, &[Piece(b"tail", false, false), Piece(&bytes, true, false)]);
    assert_eq!(faults, [Fault::Incomplete]);
    assert!(units[0].damaged && units[0].gap);
    let (units, _) = run(&mut assembler, &[Piece(&bytes, true, false)]);
    assert!(!units[0].damaged && !units[0].gap);

    let mut assembler = Assembler::new(0x100, Class::Audio);
    let bytes = pes(100, BARE, b"sound");
    run(&mut assembler, &[Piece(&bytes, true, false)]);
    assembler.lose(false);
    let (units, _) = run(&mut assembler, &[Piece(b"tail", false, false), Piece(b"tail", false, false)]);
    assert_eq!(bodies(&units), [b"sound"], "cut at the hole");
}

#[test]
fn a_gap_behind_a_believed_end_is_no_reason_to_doubt_it() {
    let mut assembler = Assembler::new(0x100, Class::Video);
    let bytes = pes(0, BARE, b"picture");
    for _ in 0..END_HINTS_MIN + 2 {
        run(&mut assembler, &[Piece(&bytes, true, true)]);
    }
    assembler.lose(false);
    let (units, _) =
        run(&mut assembler, &[Piece(b"tail of a lost one", false, true), Piece(&bytes, true, true)]);
    assert_eq!(bodies(&units), [b"picture"]);
    assert!(units[0].gap && !units[0].damaged);
}

#[test]
fn no_header_no_unit() {
    let mut assembler = Assembler::new(0x100, Class::Video);
    let (units, faults) = run(
        &mut assembler,
        &[
            Piece(b"\0\0\x02\xe0\0\0\x80\0\0", true, false),
            Piece(b"tail", false, false),
            Piece(&pes(0, &[0x40, 0, 0], b"MPEG-1"), true, false),
            Piece(&pes(0, &[0xb0, 0, 0], b"scrambled"), true, false),
        ],
    );
    assert!(units.is_empty());
    assert_eq!(faults, [Fault::BadHeader; 3]);
    assert_eq!(assembler.held(), 0);
}

#[test]
fn units_are_bounded() {
    let mut assembler = Assembler::new(0x100, Class::Data);
    run(&mut assembler, &[Piece(&pes(0, BARE, b""), true, false)]);
    let block = vec![0; 180];
    let mut faults = Vec::new();
    for _ in 0..2 * DATA_PES_BYTES_MAX / block.len() {
        faults.extend(run(&mut assembler, &[Piece(&block, false, false)]).1);
        assert!(assembler.held() <= DATA_PES_BYTES_MAX);
    }
    assert_eq!(faults, [Fault::Oversized]);
}
