//! Pictures: access units, parameter sets, joins.

use crate::builder::{AUDIO, Head, Imported, Mux, VIDEO, at, import};
use crate::media::{adts, h264};
use crate::ts_clips::clip;
use h264::{aud, idr, inter, intra, pps, sps, sps_of, types, unit};
use moqgate_mux::event::CodecConfig;

fn pictures(units: &[Vec<u8>]) -> Imported {
    let mut mux = Mux::with_program(&[(0x1b, VIDEO, &[]), (0x0f, AUDIO, &[])]);
    for (number, unit) in (0..).zip(units) {
        mux.pes(VIDEO, at(0xe0, 90_000 + number * 3600), unit);
    }
    mux.pes(AUDIO, at(0xc0, 90_000), &adts::frame(0, 50, 2));
    import(&mux.bytes)
}

#[test]
fn line_15_several_slices_are_one_picture() {
    let key = unit(&[sps(), pps(0), idr(0), idr(100), idr(200), idr(250)]);
    let delta = unit(&[inter(1, 0), inter(1, 100), inter(1, 200)]);
    let imported = pictures(&[key, delta, unit(&[inter(2, 0), inter(2, 100)])]);
    let units: Vec<_> = imported.media(VIDEO).into_iter().map(types).collect();
    assert_eq!(units, [&[7, 8, 5, 5, 5, 5][..], &[1, 1, 1], &[1, 1]]);
}

#[test]
fn line_16_several_picture_parameter_sets_are_kept() {
    let key = unit(&[aud(), sps(), pps(0), pps(1), pps(2), idr(0)]);
    let imported = pictures(&[key, h264::delta(1), unit(&[idr(0)]), h264::delta(1)]);
    let media = imported.media(VIDEO);
    for index in [0, 2] {
        let kinds = types(media[index]);
        assert_eq!(kinds.iter().filter(|&&kind| kind == 8).count(), 3, "{kinds:?}");
    }
}

#[test]
fn line_17_parameter_sets_come_late() {
    let imported = pictures(&[unit(&[idr(0)]), h264::delta(1), h264::delta(2), h264::key(), h264::delta(1)]);
    assert_eq!(imported.frames(VIDEO).len(), 2);
    assert!(imported.frames(VIDEO)[0].keyframe);
    assert_eq!(imported.frames(AUDIO).len(), 1, "sound does not wait");
}

#[test]
fn line_18_parameter_sets_with_tails_and_long_start_codes() {
    // Zeros behind a NAL unit belong to nothing; profile 100 adds chroma and scaling fields.
    let mut key = vec![0, 0, 0];
    for mut nal in [aud(), sps(), pps(0)] {
        nal.extend([0, 0, 0, 0]);
        key.extend(unit(&[nal]));
    }
    key.extend([0, 0, 1]);
    key.extend(idr(0));
    let imported = pictures(&[key, h264::delta(1)]);
    assert_eq!(size(&imported), [(320, 240)]);
    let kinds = types(imported.media(VIDEO)[0]);
    assert_eq!(kinds.iter().copied().filter(|kind| *kind != 9).collect::<Vec<_>>(), [7, 8, 5]);
}

#[test]
fn line_19_an_invalid_parameter_set_does_not_replace_a_good_one() {
    let broken = unit(&[aud(), vec![0x67, 0xff], pps(0), idr(0)]);
    let larger = unit(&[aud(), sps_of(39, 29), pps(0), idr(0)]);
    let imported = pictures(&[h264::key(), broken, h264::delta(1), larger, h264::delta(1)]);
    assert_eq!(size(&imported), [(320, 240), (640, 480)]);
    assert_eq!(imported.frames(VIDEO).len(), 5);
}

fn size(imported: &Imported) -> Vec<(u32, u32)> {
    let size = |config: &&CodecConfig| match config {
        CodecConfig::Video(video) => (video.width, video.height),
        CodecConfig::Audio(_) | CodecConfig::Data(_) => (0, 0),
    };
    imported.configs(VIDEO).iter().map(size).collect()
}

#[test]
fn line_20_a_suffix_sei_stays_with_its_picture_of_h265() {
    let original = import(&clip("hevc.ts"));
    let pid = original
        .tracks()
        .iter()
        .find(|track| track.config.suffix() == "hev1")
        .unwrap()
        .origin
        .clone()
        .unwrap()
        .pid;
    // PREFIX_SEI 39 becomes SUFFIX_SEI 40 behind the slices of each picture.
    let suffix = [0, 0, 0, 1, 40 << 1, 1, 0x84, 0x01, 0x55, 0x80];
    let mut mux = Mux::with_program(&[(0x24, VIDEO, b"\x05\x04HEVC")]);
    let frames = original.frames(pid);
    for (number, frame) in frames.iter().take(20).enumerate() {
        let unit = [frame.media(), &suffix].concat();
        let ticks = frame.pts.as_micros() * 9 / 100;
        let dts = 90_000 + number as u64 * 3000;
        mux.pes(VIDEO, Head { dts: Some(dts), ..at(0xe0, ticks.max(dts)) }, &unit);
    }
    let imported = import(&mux.bytes);
    let media = imported.media(VIDEO);
    assert_eq!(media.len(), 20);
    for unit in media {
        let kinds: Vec<_> = h264::split(unit).iter().map(|nal| nal[0] >> 1 & 0x3f).collect();
        assert_eq!(kinds.iter().filter(|&&kind| kind == 40).count(), 1, "{kinds:?}");
        assert_eq!(kinds.last(), Some(&40));
    }
}

#[test]
fn line_21_an_open_group_with_a_recovery_point_and_no_idr() {
    let join = unit(&[aud(), sps(), pps(0), h264::recovery_point(), intra(0)]);
    let imported =
        pictures(&[h264::delta(5), join.clone(), h264::delta(1), h264::delta(2), join, h264::delta(1)]);
    let keys: Vec<_> = imported.frames(VIDEO).iter().map(|frame| frame.keyframe).collect();
    assert_eq!(keys, [true, false, false, true, false]);
}

#[test]
fn parameter_sets_in_a_packet_of_their_own_join_the_next_picture() {
    let mut mux = Mux::with_program(&[(0x1b, VIDEO, &[])]);
    for number in 0..12u64 {
        if number % 6 == 0 {
            mux.pes(VIDEO, at(0xe0, 90_000 + number * 3600), &unit(&[aud(), sps(), pps(0)]));
            mux.pes(VIDEO, at(0xe0, 90_000 + number * 3600), &unit(&[idr(0)]));
        } else {
            mux.pes(VIDEO, at(0xe0, 90_000 + number * 3600), &unit(&[aud(), inter(number as u32, 0)]));
        }
    }
    let imported = import(&mux.bytes);
    assert_eq!(imported.decode_ticks(VIDEO), (0..12).map(|number| number * 3600).collect::<Vec<_>>());
}

#[test]
fn lost_bytes_withhold_pictures_until_the_next_keyframe() {
    let mut mux = Mux::with_program(&[(0x1b, VIDEO, &[])]);
    for number in 0..30u64 {
        if number == 12 {
            mux.lose(VIDEO, 1);
        }
        let unit = if number % 10 == 0 { h264::key() } else { h264::delta(number as u32 % 10) };
        mux.pes(VIDEO, at(0xe0, 90_000 + number * 3600), &unit);
    }
    let imported = import(&mux.bytes);
    let shown: Vec<_> = imported.decode_ticks(VIDEO).iter().map(|ticks| ticks / 3600).collect();
    assert_eq!(shown, (0..12).chain(20..30).collect::<Vec<_>>());
}
