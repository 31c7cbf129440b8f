use super::*;

const VIDEO: u16 = 0x100;
const AUDIO: u16 = 0x101;
const TOP: u64 = 1 << 33;

/// Ticks on the timeline after its origin.
fn ticks(timestamp: Timestamp) -> i64 {
    (timestamp.as_micros() as i64 * 9 + 50) / 100 - CLOCK_ORIGIN
}

fn video(clock: &mut Clock, dts: u64) -> Result<i64, Refused> {
    let dts = dts % TOP;
    clock.stamp(VIDEO, Class::Video, (dts + 7200) % TOP, Some(dts)).map(|stamp| {
        assert_eq!(ticks(stamp.pts) - ticks(stamp.dts.unwrap()), 7200);
        ticks(stamp.dts.unwrap())
    })
}

fn audio(clock: &mut Clock, pts: u64) -> Result<i64, Refused> {
    clock.stamp(AUDIO, Class::Audio, pts % TOP, None).map(|stamp| ticks(stamp.pts))
}

#[test]
fn a_wrap_is_a_small_step_for_all_streams() {
    let mut clock = Clock::default();
    let start = TOP - 5000;
    assert_eq!(video(&mut clock, start), Ok(0));
    assert_eq!(audio(&mut clock, start + 6000), Ok(6000), "first of its stream, behind the wrap");
    assert_eq!(video(&mut clock, start + 3600), Ok(3600));
    assert_eq!(video(&mut clock, start + 7200), Ok(7200));
    assert_eq!(audio(&mut clock, start + 1000), Err(Refused::Backwards));
    assert_eq!(audio(&mut clock, start + 9000), Ok(9000));
    assert_eq!(clock.jumps(), 0);
}

#[test]
fn pictures_in_front_of_the_first_timestamp_and_of_the_wrap() {
    let mut clock = Clock::default();
    let mut show = |pts: i64| {
        let stamp = clock.stamp(VIDEO, Class::Video, pts.rem_euclid(1 << 33) as u64, None).unwrap();
        ticks(stamp.pts)
    };
    // Without DTS, pictures come in decoding order: back over the wrap.
    let shown: Vec<_> = [7200, -3600, 0, 3600, 18_000, 10_800].into_iter().map(&mut show).collect();
    assert_eq!(shown, [0, -10_800, -7200, -3600, 10_800, 3600]);
}

#[test]
fn a_restart_continues_the_timeline_for_sound_and_pictures() {
    let mut clock = Clock::default();
    video(&mut clock, 1_000_000).unwrap();
    audio(&mut clock, 1_000_000).unwrap();
    assert_eq!(video(&mut clock, 1_003_600), Ok(3600));
    // The first odd value gets the expected time, the second confirms.
    assert_eq!(video(&mut clock, 90_000_000), Ok(7200));
    assert_eq!(clock.jumps(), 0);
    assert_eq!(video(&mut clock, 90_003_600), Ok(10_800));
    assert_eq!(clock.jumps(), 1);
    // Sound finishes the old clock, then follows with the same offset.
    assert_eq!(audio(&mut clock, 1_001_920), Ok(1920));
    assert_eq!(audio(&mut clock, 90_002_000), Ok(9200));
    assert_eq!(clock.jumps(), 1);
}

#[test]
fn a_single_odd_value_is_ignored() {
    let mut clock = Clock::default();
    for step in 0..5 {
        video(&mut clock, 1_000_000 + step * 3600).unwrap();
    }
    assert_eq!(video(&mut clock, 400_000_000), Ok(5 * 3600));
    assert_eq!(video(&mut clock, 1_000_000 + 6 * 3600), Ok(6 * 3600));
    assert_eq!(video(&mut clock, 700_000_000), Ok(7 * 3600));
    assert_eq!(clock.jumps(), 0);
    assert_eq!(audio(&mut clock, 500_000_000), Err(Refused::Odd));
}

#[test]
fn a_loop_of_five_seconds_with_a_pcr() {
    let mut clock = Clock::default();
    let frames = 125;
    let mut expected = 0;
    for round in 0..3 {
        for frame in 0..frames {
            let time = 126_000 + frame * 3600;
            clock.pcr(time - 63_000, false);
            assert_eq!(video(&mut clock, time), Ok(expected), "round {round} frame {frame}");
            expected += 3600;
            if frame > 0 {
                let sound = audio(&mut clock, time).unwrap();
                assert!((sound - expected).abs() <= 7200, "round {round} frame {frame}: {sound} {expected}");
            }
        }
        assert_eq!(clock.jumps(), round);
    }
}

#[test]
fn a_short_loop_without_a_pcr_costs_two_units() {
    let mut clock = Clock::default();
    for frame in 0..50 {
        video(&mut clock, 126_000 + frame * 3600).unwrap();
    }
    let results: Vec<_> = (0..4).map(|frame| video(&mut clock, 126_000 + frame * 3600)).collect();
    assert_eq!(results, [Err(Refused::Backwards), Err(Refused::Backwards), Ok(50 * 3600), Ok(51 * 3600)]);
    assert_eq!(clock.jumps(), 1);
}

#[test]
fn seconds_without_packets_are_a_gap_and_the_pcr_behind_them_no_restart() {
    let mut clock = Clock::default();
    clock.pcr(40_000, false);
    video(&mut clock, 100_000).unwrap();
    let gap = 7 * 90_000;
    clock.pcr(43_600 + gap, false);
    assert_eq!(video(&mut clock, 103_600 + gap), Ok(3600 + gap as i64));
    assert_eq!(video(&mut clock, 107_200 + gap), Ok(7200 + gap as i64));
    assert_eq!(video(&mut clock, 103_600 + gap), Err(Refused::Backwards));
    assert_eq!(clock.jumps(), 0);
}

#[test]
fn disorder_is_dropped() {
    let mut clock = Clock::default();
    video(&mut clock, 100_000).unwrap();
    video(&mut clock, 107_200).unwrap();
    assert_eq!(video(&mut clock, 103_600), Err(Refused::Backwards));
    assert_eq!(video(&mut clock, 110_800), Ok(10_800));
    assert_eq!(video(&mut clock, 110_800), Ok(10_800), "parameter sets and picture in two packets");
    assert_eq!(clock.jumps(), 0);
}

#[test]
fn an_announced_discontinuity_moves_seconds_that_would_else_be_a_gap() {
    for (announced, expected) in [(true, 3600), (false, 3600 + 8 * 90_000)] {
        let mut clock = Clock::default();
        clock.pcr(40_000, false);
        video(&mut clock, 100_000).unwrap();
        clock.pcr(43_600 + 8 * 90_000, announced);
        assert_eq!(video(&mut clock, 103_600 + 8 * 90_000), Ok(expected));
    }
}

#[test]
fn a_hint_confirms_a_far_step_at_once() {
    let mut clock = Clock::default();
    video(&mut clock, 100_000).unwrap();
    clock.expect_jump(false);
    assert_eq!(video(&mut clock, 50_000_000), Ok(3600));
    assert_eq!(clock.jumps(), 1);
}

#[test]
fn data_follows_and_never_steers() {
    let mut clock = Clock::default();
    assert_eq!(clock.now(0x200), None);
    clock.stamp(0x200, Class::Data, 4_000_000_000, None).unwrap();
    assert_eq!(video(&mut clock, 100_000), Ok(3600), "its own clock from the first picture on");
    assert_eq!(ticks(clock.now(0x200).unwrap()), 3600);
    for _ in 0..5 {
        let stamp = clock.stamp(0x200, Class::Data, 4_000_000_000, None).unwrap();
        assert_eq!(ticks(stamp.pts), 3600);
    }
    let stamp = clock.stamp(0x200, Class::Data, 101_000, None).unwrap();
    assert_eq!(ticks(stamp.pts), 4600);
    assert_eq!(video(&mut clock, 103_600), Ok(7200));
}

#[test]
fn data_in_front_of_the_first_picture_on_the_same_clock_is_no_jump() {
    let mut clock = Clock::default();
    clock.stamp(0x200, Class::Data, 98_000, None).unwrap();
    assert_eq!(video(&mut clock, 100_000), Ok(2000));
    assert_eq!(clock.jumps(), 0);
}

#[test]
fn offset_maps_times_inside_the_stream() {
    let mut clock = Clock::default();
    video(&mut clock, TOP - 90_000).unwrap();
    let mapped = (TOP - 90_000 + 180_000 + clock.offset()) % TOP;
    assert_eq!(mapped as i64 - CLOCK_ORIGIN, 180_000);
}

#[test]
fn streams_that_leave_do_not_turn_time_back() {
    let mut clock = Clock::default();
    video(&mut clock, 100_000).unwrap();
    video(&mut clock, 900_000).unwrap();
    clock.forget(VIDEO);
    clock.expect_jump(false);
    assert_eq!(video(&mut clock, 80_000_000), Ok(803_600));
}
