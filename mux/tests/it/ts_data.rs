//! What no player decodes rides along verbatim.

use moqgate_mux::event::{CodecConfig, DataConfig, DataKind};

use crate::builder::{AUDIO, DATA, Imported, Mux, PMT, VIDEO, at, hex, import, pmt, seal, without_time};
use crate::media::adts;

const ORIGIN_TICKS: u64 = 900_000;

/// A program with sound and one stream of data, whose packets are these.
fn check(stream_type: u8, descriptors: &[u8], packets: &[(Option<u64>, &[u8])]) -> Imported {
    let mut mux = Mux::with_program(&[(0x0f, AUDIO, &[]), (stream_type, DATA, descriptors)]);
    mux.pes(AUDIO, at(0xc0, 90_000), &adts::frame(0x21, 60, 2));
    for &(pts, payload) in packets {
        let head = pts.map_or(without_time(0xbd), |pts| at(0xbd, pts));
        mux.pes(DATA, head, payload);
    }
    import(&mux.bytes)
}

fn kind(imported: &Imported) -> DataKind {
    match imported.configs(DATA)[..] {
        [CodecConfig::Data(DataConfig { kind })] => *kind,
        _ => panic!("{:?}", imported.configs(DATA)),
    }
}

#[test]
fn klv_subtitles_tags_and_the_unknown_keep_payload_time_and_descriptors() {
    let klv = b"\x05\x04KLVA";
    let cells = hex("2609 0100 ff 4b4c5641 00 0f 2709 c00000 c00000 c00000");
    let tag = hex("260d ffff 49443320 ff 49443320 00 0f");
    let cases: [(u8, &[u8], DataKind); 7] = [
        (0x06, klv, DataKind::Klv),
        (0x15, &cells, DataKind::KlvSync),
        (0x15, &tag, DataKind::Id3),
        (0x06, b"\x56\x05deu\x11\x00", DataKind::Teletext),
        (0x06, b"\x59\x08deu\x10\x00\x01\x00\x02", DataKind::Subtitle),
        (0x33, b"", DataKind::Private),
        (0x9f, b"\x05\x04WHAT", DataKind::Private),
    ];
    for (stream_type, descriptors, expected) in cases {
        let long = vec![7; 1000];
        let imported = check(stream_type, descriptors, &[(Some(93_600), b"one"), (Some(97_200), &long)]);
        assert_eq!(kind(&imported), expected, "type {stream_type:x}");
        assert_eq!(imported.media(DATA), [b"one", &long[..]]);
        assert_eq!(imported.display_ticks(DATA), [0, 3600]);
        assert_eq!(imported.frames(DATA)[0].pts.as_micros(), (ORIGIN_TICKS + 3600) * 100 / 9);
        let origin = imported.tracks().iter().find_map(|track| {
            let origin = track.origin.clone()?;
            (origin.pid == DATA).then_some(origin)
        });
        let origin = origin.unwrap();
        assert_eq!((origin.stream_type, &origin.descriptors[..]), (stream_type, descriptors));
    }
}

#[test]
fn data_without_a_time_gets_the_present() {
    let imported = check(6, b"\x05\x04KLVA", &[(None, &hex("060e2b34020b01010e01030101000000 020100"))]);
    assert_eq!(imported.frames(DATA)[0].pts, imported.frames(AUDIO)[0].pts);
}

#[test]
fn splices_keep_their_bytes_but_move_to_the_new_timeline() {
    let section = hex(
        "fc3025 00 00 0000000000 fff0 14 05 00000001 7fef fe2d142b00 fe0123d308 0001 01 01 0000 7f157a49",
    );
    let mut mux = Mux::default();
    mux.tables(&[]);
    mux.section(PMT, &pmt(1, 1, AUDIO, b"\x05\x04CUEI", &[(0x0f, AUDIO, &[]), (0x86, DATA, &[])]));
    mux.pes(AUDIO, at(0xc0, 90_000), &adts::frame(0x21, 60, 2));
    mux.section(DATA, &section);
    let mut broken = section.clone();
    broken[20] ^= 1;
    mux.section(DATA, &broken);
    let imported = import(&mux.bytes);
    assert_eq!(kind(&imported), DataKind::Scte35);
    let program = imported.program.as_ref().unwrap();
    assert_eq!((program.number, program.pmt_pid, program.pcr_pid), (1, PMT, AUDIO));
    assert_eq!(&program.descriptors[..], b"\x05\x04CUEI");
    assert_eq!(imported.stats.bad_sections, 1);
    let frames = imported.media(DATA);
    assert_eq!(frames.len(), 1);
    // pts_adjustment is the timeline's offset: its origin minus the first timestamp.
    let mut expected = section[..section.len() - 4].to_vec();
    expected[5..9].copy_from_slice(&((ORIGIN_TICKS - 90_000) as u32).to_be_bytes());
    assert_eq!(frames[0], seal(expected));
}

#[test]
fn data_alone_is_a_program_too() {
    let mut mux = Mux::with_program(&[(6, DATA, b"\x05\x04KLVA")]);
    mux.pes(DATA, at(0xbd, 90_000), b"one");
    mux.pes(DATA, at(0xbd, 93_600), b"two");
    assert_eq!(import(&mux.bytes).display_ticks(DATA), [0, 3600]);
    // Without timestamps, by the PCR.
    let mut mux = Mux::with_program(&[(6, DATA, b"\x05\x04KLVA")]);
    for (time, body) in [(90_000, b"one"), (93_600, b"two")] {
        mux.pcr(VIDEO, time, false);
        mux.pes(DATA, without_time(0xbd), body);
    }
    assert_eq!(import(&mux.bytes).display_ticks(DATA), [0, 3600]);
}

#[test]
fn half_a_unit_of_data_is_not_data() {
    let mut mux = Mux::with_program(&[(0x0f, AUDIO, &[]), (6, DATA, b"\x05\x04KLVA")]);
    mux.pes(AUDIO, at(0xc0, 90_000), &adts::frame(0x21, 60, 2));
    let start = mux.bytes.len();
    mux.pes(DATA, at(0xbd, 90_000), &[1; 500]);
    mux.bytes.drain(start + 188..start + 376);
    mux.pes(DATA, at(0xbd, 93_600), &[2; 500]);
    let imported = import(&mux.bytes);
    assert_eq!(imported.media(DATA), [&[2; 500]]);
    assert_eq!((imported.stats.damaged_pes, imported.stats.continuity_errors), (1, 1));
}
