//! One timeline from clocks that wrap, jump, loop and fall silent.

use moqgate_mux::event::Event;

use crate::builder::{AUDIO, Af, Head, Imported, Mux, VIDEO, at, import};
use crate::media::{adts, h264};
use crate::ts_clips::clip;

const WRAP: u64 = 1 << 33;
const FRAME: u64 = 3600;

fn program() -> Mux {
    Mux::with_program(&[(0x1b, VIDEO, &[]), (0x0f, AUDIO, &[])])
}

/// A picture with DTS, displayed `lead` frames later.
fn picture(mux: &mut Mux, dts: u64, lead: u64, unit: &[u8]) {
    let head = Head { pts: Some((dts + lead * FRAME) % WRAP), dts: Some(dts % WRAP), ..at(0xe0, 0) };
    mux.pes(VIDEO, head, unit);
}

/// One second: 25 pictures of which the first is a keyframe, and 47 frames of sound, starting at `start`.
fn second(mux: &mut Mux, start: u64) {
    for frame in 0..25 {
        let unit = if frame == 0 { h264::key() } else { h264::delta(frame) };
        let dts = start + u64::from(frame) * FRAME;
        let af = Af { pcr: Some((dts + WRAP - 9000) % WRAP), ..Af::default() };
        mux.pes(
            VIDEO,
            Head { pts: Some((dts + 2 * FRAME) % WRAP), dts: Some(dts % WRAP), af, ..at(0xe0, 0) },
            &unit,
        );
        mux.pes(AUDIO, at(0xc0, (start + u64::from(frame) * FRAME) % WRAP), &adts::frame(0x21, 100, 2));
    }
}

fn steps(ticks: &[i64]) -> Vec<i64> {
    ticks.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn line_01_the_33_bit_wrap_in_both_directions() {
    let mut mux = program();
    second(&mut mux, WRAP - 12 * FRAME);
    let imported = import(&mux.bytes);
    assert_eq!(steps(&imported.decode_ticks(VIDEO)), [3600; 24]);
    assert_eq!(imported.discontinuities(), 0);

    // Without DTS, pictures in decoding order go back over the wrap.
    let mut mux = program();
    let order = [0i64, 3, 1, 2, 6, 4, 5];
    for (number, place) in (0..).zip(order) {
        let unit = if number == 0 { h264::key() } else { h264::delta(number) };
        mux.pes(VIDEO, at(0xe0, ((place - 2) * 3600).rem_euclid(1 << 33) as u64), &unit);
    }
    let imported = import(&mux.bytes);
    assert_eq!(imported.display_ticks(VIDEO), order.map(|place| place * 3600));
    assert_eq!(imported.discontinuities(), 0);
}

#[test]
fn line_02_wrap_restart_and_loop_are_told_apart() {
    // A loop of ten seconds, twice over, as a player that repeats a file sends it.
    let file = clip("bframes.ts");
    let once = import(&file);
    let thrice = import(&[&file[..], &file, &file].concat());
    for track in once.tracks() {
        let pid = track.origin.as_ref().unwrap().pid;
        let (single, all) = (once.frames(pid).len(), thrice.frames(pid).len());
        assert!(all + 4 >= 3 * single && all <= 3 * single, "pid {pid}: {all} of 3 x {single}");
        let steps = steps(&thrice.decode_ticks(pid));
        let longest = steps.iter().max().unwrap();
        assert!(
            steps.iter().all(|&step| step >= 0) && *longest < 13_500,
            "pid {pid}: longest step {longest}"
        );
    }
    assert_eq!(thrice.discontinuities(), 2);
    assert_eq!(thrice.stats.clock_jumps, 2);

    // A restart, far back and far ahead: sound and pictures keep together.
    for start in [100_000, 5_000_000_000] {
        let mut mux = program();
        second(&mut mux, 2_000_000_000);
        second(&mut mux, start);
        let imported = import(&mux.bytes);
        assert_eq!(steps(&imported.decode_ticks(VIDEO)), [3600; 49]);
        let apart = first_pts(&imported, AUDIO) as i64 - first_pts(&imported, VIDEO) as i64;
        let last = last_pts(&imported, AUDIO) as i64 - last_pts(&imported, VIDEO) as i64;
        assert_eq!(apart, last);
        assert_eq!(imported.discontinuities(), 1);
    }
}

fn first_pts(imported: &Imported, pid: u16) -> u64 {
    imported.frames(pid)[0].pts.as_micros()
}

fn last_pts(imported: &Imported, pid: u16) -> u64 {
    imported.frames(pid).last().unwrap().pts.as_micros()
}

#[test]
fn line_03_a_discontinuity_on_an_elementary_pid_is_only_a_counter_jump() {
    let mut mux = program();
    second(&mut mux, 1_000_000);
    mux.lose(AUDIO, 5);
    let af = Af { discontinuity: true, ..Af::default() };
    mux.pes(AUDIO, Head { af, ..at(0xc0, 1_000_000 + 25 * FRAME) }, &adts::frame(0x21, 100, 2));
    second(&mut mux, 1_000_000 + 26 * FRAME);
    let imported = import(&mux.bytes);
    assert_eq!(imported.discontinuities(), 0);
    assert_eq!(imported.stats.continuity_errors, 0);
    assert_eq!(imported.frames(AUDIO).len(), 51);

    // The same on the PCR's pid with a step of eight seconds is one: the time between is not media.
    let mut mux = program();
    second(&mut mux, 1_000_000);
    let next = 1_000_000 + 8 * 90_000;
    mux.pcr(VIDEO, next - 9000, true);
    second(&mut mux, next);
    let imported = import(&mux.bytes);
    assert_eq!(steps(&imported.decode_ticks(VIDEO)), [3600; 49]);
    assert_eq!(imported.discontinuities(), 1);
}

#[test]
fn line_22_opus_frames_share_the_pes_timestamp_by_their_durations() {
    let imported = import(&clip("opus.ts"));
    let pid = imported
        .tracks()
        .iter()
        .find(|track| track.config.suffix() == "opus")
        .unwrap()
        .origin
        .clone()
        .unwrap()
        .pid;
    let ticks = imported.display_ticks(pid);
    assert!(ticks.len() > 100);
    for (number, time) in ticks.iter().enumerate() {
        assert!((time - number as i64 * 1800).abs() <= 600, "packet {number} at {time}");
    }
}

#[test]
fn line_23_one_pid_falls_silent_and_comes_back() {
    let mut mux = program();
    second(&mut mux, 1_000_000);
    let mut time = 1_000_000 + 25 * FRAME;
    for _ in 0..20 {
        for frame in 0..25 {
            picture(&mut mux, time, 2, &if frame == 0 { h264::key() } else { h264::delta(frame) });
            time += FRAME;
        }
    }
    second(&mut mux, time);
    let imported = import(&mux.bytes);
    assert_eq!(steps(&imported.decode_ticks(VIDEO)), [3600; 22 * 25 - 1]);
    assert_eq!(imported.discontinuities(), 0);
    let sound = imported.frames(AUDIO);
    assert_eq!(sound.len(), 50);
    let pause = imported.display_ticks(AUDIO)[25] - imported.display_ticks(AUDIO)[24];
    assert!((20 * 90_000..21 * 90_000).contains(&pause), "the silence is kept: {pause}");
}

#[test]
fn line_24_reordered_pictures_without_dts() {
    let mut mux = program();
    let order = [0u64, 3, 1, 2, 6, 4, 5];
    for (number, place) in order.into_iter().enumerate() {
        let unit = if number == 0 { h264::key() } else { h264::delta(number as u32) };
        let pts = 1_000_000 + place * FRAME;
        let af = Af { pcr: Some(1_000_000 - 9000 + number as u64 * FRAME), ..Af::default() };
        mux.pes(VIDEO, Head { af, ..at(0xe0, pts) }, &unit);
    }
    let imported = import(&mux.bytes);
    assert_eq!(imported.display_ticks(VIDEO), order.map(|place| place as i64 * 3600));
    assert_eq!(imported.stats.misplaced_units, 0);
}

#[test]
fn half_a_frame_in_front_of_a_restart_is_not_joined_to_what_follows() {
    let mut mux = program();
    let half = adts::frame(2, 300, 2)[..150].to_vec();
    mux.pes(AUDIO, at(0xc0, 1_000_000), &[adts::frame(1, 300, 2), half].concat());
    for (number, fill) in (0..).zip([3, 4, 5]) {
        let sound = [adts::frame(fill, 300, 2), adts::frame(fill, 300, 2)].concat();
        mux.pes(AUDIO, at(0xc0, 500_000_000 + number * 3840), &sound);
    }
    let imported = import(&mux.bytes);
    let fills: Vec<_> = imported.media(AUDIO).iter().map(|frame| (frame[0], frame.len())).collect();
    assert_eq!(fills, [1, 3, 3, 4, 4, 5, 5].map(|fill| (fill, 300)));
    assert_eq!(imported.stats.clock_jumps, 1);
}

#[test]
fn timestamps_that_lie_alone_are_ignored() {
    let mut mux = program();
    for frame in 0..20u64 {
        let dts = if frame == 7 { 6_000_000_000 } else { 1_000_000 + frame * FRAME };
        picture(&mut mux, dts, 2, &if frame == 0 { h264::key() } else { h264::delta(frame as u32) });
    }
    let imported = import(&mux.bytes);
    assert_eq!(imported.decode_ticks(VIDEO), (0..20).map(|frame| frame * 3600).collect::<Vec<_>>());
    assert_eq!(imported.count(|event| *event == Event::Discontinuity), 0);
}
