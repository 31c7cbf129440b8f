//! What the `mpeg2ts` crate's reader makes of legal and damaged input, beside ours, on the same bytes. Each case fails
//! once the crate is better than docs/DEPENDENCIES.md says, so that the choice gets looked at again.

use std::panic::catch_unwind;

use mpeg2ts::pes::{PesPacketReader, ReadPesPacket};
use mpeg2ts::ts::TsPacketReader;

use crate::builder::{AUDIO, Mux, PMT, VIDEO, at, hex, import, pat, pmt, seal};

const CLIP: &[u8] = include_bytes!("../../../fixtures/bframes.ts");

/// How many PES packets the crate's reader gives out before it ends or fails.
fn by_mpeg2ts(bytes: &[u8]) -> usize {
    let mut reader = PesPacketReader::new(TsPacketReader::new(bytes));
    let mut count = 0;
    while let Ok(Some(_)) = reader.read_pes_packet() {
        count += 1;
    }
    count
}

/// How many frames our importer gives out.
fn by_us(bytes: &[u8]) -> usize {
    let imported = import(bytes);
    [VIDEO, AUDIO].map(|pid| imported.frames(pid).len()).iter().sum()
}

/// One picture and then sound, which every reader should find behind these tables.
fn with_tables(tables: impl FnOnce(&mut Mux)) -> Vec<u8> {
    let mut mux = Mux::default();
    tables(&mut mux);
    let adts = hex("fff14c8002bffc 0102030405060708 0910111213141500");
    for index in 0..20 {
        mux.pes(AUDIO, at(0xc0, 90_000 + 1920 * index), &adts[..21]);
    }
    mux.bytes
}

const SOUND: (u8, u16, &[u8]) = (0x0f, AUDIO, &[]);

#[test]
fn both_read_a_clean_clip() {
    assert!(by_mpeg2ts(CLIP) > 300);
    assert_eq!(by_us(CLIP), 768);
}

#[test]
fn a_clip_that_begins_in_mid_packet() {
    assert_eq!(by_mpeg2ts(&CLIP[100..]), 0);
    assert!(by_us(&CLIP[100..]) > 700);
}

#[test]
fn a_byte_lost_in_the_middle() {
    let half = CLIP.len() / 2;
    let cut = [&CLIP[..half], &CLIP[half + 1..]].concat();
    assert!(by_mpeg2ts(&cut) < by_mpeg2ts(CLIP) * 2 / 3);
    assert!(by_us(&cut) > 700);
}

#[test]
fn a_program_map_with_a_type_nobody_knows() {
    let bytes = with_tables(|mux| mux.tables(&[SOUND, (0x9f, VIDEO, &[])]));
    assert_eq!(by_mpeg2ts(&bytes), 0);
    assert!(by_us(&bytes) > 0);
}

#[test]
fn a_program_map_of_several_packets() {
    let long = [&[0x0a, 200][..], &[b'e'; 200]].concat();
    let bytes = with_tables(|mux| mux.tables(&[SOUND, (0x0f, VIDEO, &long)]));
    assert_eq!(by_mpeg2ts(&bytes), 0);
    assert!(by_us(&bytes) > 0);
}

#[test]
fn a_section_behind_a_pointer() {
    let bytes = with_tables(|mux| {
        mux.section(0, &pat(0, &[(1, PMT)]));
        let mut payload = vec![3, 0xff, 0xff, 0xff];
        payload.extend(pmt(0, 1, AUDIO, &[], &[SOUND]));
        mux.payloads(PMT, &payload);
    });
    assert_eq!(by_mpeg2ts(&bytes), 0);
    assert!(by_us(&bytes) > 0);
}

#[test]
fn a_program_map_that_lies_about_its_length() {
    let bytes = with_tables(|mux| {
        mux.section(0, &pat(0, &[(1, PMT)]));
        let mut lying = pmt(0, 1, AUDIO, &[], &[SOUND]);
        lying.truncate(lying.len() - 4);
        lying[10] = 0xf3;
        lying[11] = 0xff;
        mux.section(PMT, &seal(lying));
    });
    assert!(catch_unwind(|| by_mpeg2ts(&bytes)).is_err(), "it panics");
    assert_eq!(by_us(&bytes), 0);
}
