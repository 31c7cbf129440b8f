//! The clock, driven by two senders with clocks of their own.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[expect(clippy::disallowed_methods, reason = "a test is where time comes from")]
fn start() -> Instant {
    Instant::now()
}

/// A wall clock of 64 bits, microseconds after a moment in the first era.
fn ntp(micros: u64) -> u64 {
    const SECONDS: u64 = 3_900_000_000;
    (SECONDS << 32) + ((u128::from(micros) << 32) / 1_000_000) as u64
}

/// A source whose timestamps begin at `first`, and whose sound or picture was taken `late` before it arrives.
#[derive(Clone, Copy)]
struct Sender {
    lane: usize,
    rate: u64,
    first: u32,
    late: u64,
}

impl Sender {
    fn rtp(&self, taken: u64) -> u32 {
        self.first.wrapping_add((taken * self.rate / 1_000_000) as u32)
    }

    /// The place of what was taken at `taken`.
    fn send(&self, clock: &mut Clock, began: Instant, taken: u64) -> i64 {
        let arrival = began + Duration::from_micros(taken + self.late);
        let stamp = clock.stamp(self.lane, self.rtp(taken), arrival).unwrap();
        assert!(!stamp.jumped);
        stamp.time.as_micros().cast_signed()
    }

    fn report(&self, clock: &mut Clock, taken: u64) -> bool {
        clock.report(self.lane, ntp(taken), self.rtp(taken))
    }
}

fn pair(audio_late: u64, video_late: u64) -> (Clock, Sender, Sender) {
    let mut clock = Clock::default();
    let audio = Sender { lane: clock.add(48_000), rate: 48_000, first: u32::MAX - 9000, late: audio_late };
    let video = Sender { lane: clock.add(90_000), rate: 90_000, first: 77, late: video_late };
    (clock, audio, video)
}

/// Runs both for so many seconds, with a report of each every second; how far apart they are at the end.
fn run(audio_late: u64, video_late: u64, seconds: u64, report: impl Fn(u64) -> bool) -> i64 {
    let ((mut clock, audio, video), began) = (pair(audio_late, video_late), start());
    let (mut sound, mut picture) = (0, 0);
    for millis in (0..seconds * 1000).step_by(20) {
        let taken = millis * 1000;
        let heard = audio.send(&mut clock, began, taken);
        assert!(heard >= sound, "sound never goes back");
        sound = heard;
        if millis % 40 == 0 {
            let seen = video.send(&mut clock, began, taken);
            assert!(seen >= picture, "pictures never go back");
            picture = seen;
        }
        if millis % 1000 == 500 && report(millis) {
            audio.report(&mut clock, taken);
            video.report(&mut clock, taken);
        }
    }
    let taken = seconds * 1_000_000;
    audio.send(&mut clock, began, taken) - video.send(&mut clock, began, taken)
}

#[test]
fn reports_bring_tracks_together() {
    assert_eq!(run(0, 30_000, 20, |_| false), -30_000, "without reports, arrival decides");
    assert!(run(0, 30_000, 20, |_| true).abs() < 100, "a small difference is spread");
    assert!(run(30_000, 0, 20, |_| true).abs() < 100);
    assert!(run(0, 400_000, 3, |_| true).abs() < 100, "a large one is made up at once");
    assert!(run(400_000, 0, 3, |_| true).abs() < 100);
}

#[test]
fn line_66_late_reports_do_not_rewind() {
    // The first reports come after ten seconds, as some senders have it; `run` watches for steps back.
    assert!(run(0, 900_000, 15, |millis| millis > 10_000).abs() < 100);
    assert!(run(900_000, 0, 15, |millis| millis > 10_000).abs() < 100);

    let ((mut clock, audio, _), began) = (pair(0, 0), start());
    audio.send(&mut clock, began, 5_000_000);
    assert!(audio.report(&mut clock, 5_000_000));
    assert!(!audio.report(&mut clock, 4_000_000), "overtaken on the way");
    assert!(!audio.report(&mut clock, 5_000_000), "repeated");
    assert!(!clock.report(0, 0, 1), "no wall clock");
}

#[test]
fn line_66_timestamps_wrap_between_packets_and_reports() {
    // The sound wraps 0.1875 s after the start: the packet before, the report behind, and the other way round.
    for (sent, reported) in [(100_000, 300_000), (300_000, 100_000)] {
        let ((mut clock, audio, video), began) = (pair(0, 0), start());
        let heard = audio.send(&mut clock, began, sent);
        assert!(audio.report(&mut clock, reported));
        let seen = video.send(&mut clock, began, sent);
        assert!(video.report(&mut clock, reported));
        assert!(heard.abs_diff(seen) < 50);
        let (heard, seen) = (audio.send(&mut clock, began, 1 << 22), video.send(&mut clock, began, 1 << 22));
        assert!(heard.abs_diff(seen) < 50);
    }
    // 26 hours of pictures at 90 kHz, in steps of ten minutes: two wraps.
    let ((mut clock, _, video), began) = (pair(0, 0), start());
    for minute in (0..26 * 60).step_by(10) {
        let taken = minute * 60_000_000;
        assert_eq!(video.send(&mut clock, began, taken), ORIGIN + taken.cast_signed());
    }
}

#[test]
fn the_wall_clock_may_wrap_and_be_set() {
    assert_eq!(since(u64::MAX - (1 << 31), (1 << 31) - 1), 1_000_000, "the year 2036");
    let ((mut clock, audio, video), began) = (pair(0, 0), start());
    for second in 0..20 {
        let taken = second * 1_000_000;
        let apart = audio.send(&mut clock, began, taken) - video.send(&mut clock, began, taken);
        assert!(apart.abs() < 50, "{apart} at {second}");
        let set = if second < 10 { 0 } else { 7_000_000 };
        clock.report(audio.lane, ntp(taken + set), audio.rtp(taken));
        clock.report(video.lane, ntp(taken + set), video.rtp(taken));
    }
}

#[test]
fn line_64_a_clock_that_is_set_anew_goes_on() {
    let began = start();
    for wrong in [0, 1 << 30, 1 << 31] {
        let ((mut clock, audio, _), arrival) = (pair(0, 0), began + Duration::from_millis(20_020));
        let last = audio.send(&mut clock, began, 20_000_000);
        let stamp = clock.stamp(audio.lane, audio.rtp(20_020_000).wrapping_add(wrong), arrival).unwrap();
        assert_eq!(stamp.jumped, wrong != 0);
        assert!(stamp.time.as_micros().abs_diff(last.unsigned_abs() + 20_000) < 20, "{wrong}");
    }
    let (mut clock, audio, _) = pair(0, 0);
    audio.send(&mut clock, began, 0);
    clock.restart(audio.lane);
    let stamp = clock.stamp(audio.lane, 12345, began + Duration::from_secs(1)).unwrap();
    assert_eq!((stamp.time.as_micros(), stamp.jumped), (ORIGIN.unsigned_abs() + 1_000_000, true));
}

#[test]
fn one_wild_report_moves_nothing() {
    for wrong in [60_000i64, -60_000, 5_000_000, -5_000_000, 3_000_000_000] {
        let ((mut clock, audio, video), began) = (pair(0, 0), start());
        for second in 0..20 {
            let taken = second * 1_000_000;
            let heard = audio.send(&mut clock, began, taken);
            let seen = video.send(&mut clock, began, taken);
            assert!((heard - seen).abs() < 50, "{wrong}: {} at {second}", heard - seen);
            assert!((heard - ORIGIN - taken.cast_signed()).abs() < 50);
            let wall = if second == 10 { taken.saturating_add_signed(wrong) } else { taken };
            clock.report(audio.lane, ntp(wall), audio.rtp(taken));
            video.report(&mut clock, taken);
        }
    }
    // Nor is a source that is alone drawn to its sender's clock on the wall.
    let ((mut clock, audio, _), began) = (pair(0, 0), start());
    for second in 0..20u64 {
        let taken = second * 1_000_000;
        assert_eq!(audio.send(&mut clock, began, taken), ORIGIN + taken.cast_signed());
        clock.report(audio.lane, ntp(taken + second * 7919 % 97 * 1000), audio.rtp(taken));
    }
}

#[test]
fn noise_in_reports_does_not_add_up() {
    let ((mut clock, audio, video), began) = (pair(0, 0), start());
    for second in 0..3600 {
        let taken = second * 1_000_000;
        let noise = (second * 7919) % 9 * 1000;
        let heard = audio.send(&mut clock, began, taken);
        let seen = video.send(&mut clock, began, taken);
        assert!((heard - seen).abs() < 20_000);
        assert!((heard - ORIGIN - taken.cast_signed()).abs() < 20_000);
        clock.report(audio.lane, ntp(taken + noise), audio.rtp(taken));
        clock.report(video.lane, ntp(taken + 9000 - noise), video.rtp(taken));
    }
}

proptest! {
    #[test]
    fn anything_may_come(
        steps in prop::collection::vec((0..2usize, any::<u32>(), any::<u64>(), 0..2000u64, any::<bool>()), 1..200)
    ) {
        let (mut clock, mut now) = (pair(0, 0).0, start());
        for (lane, raw, ntp, millis, report) in steps {
            now += Duration::from_millis(millis);
            if report {
                clock.report(lane, ntp, raw);
            } else {
                clock.stamp(lane, raw, now);
            }
        }
    }

    /// Whatever reports say: time does not go back.
    #[test]
    fn reports_never_turn_time_back(
        reports in prop::collection::vec((0..2usize, 0..60_000_000u64, -20_000_000i64..20_000_000), 0..40)
    ) {
        let ((mut clock, audio, video), began) = (pair(0, 50_000), start());
        let mut last = [0; 2];
        let mut reports = reports.into_iter();
        for taken in (0..4_000_000).step_by(20_000) {
            for (index, sender) in [audio, video].into_iter().enumerate() {
                let place = sender.send(&mut clock, began, taken);
                prop_assert!(place > last[index] || taken == 0);
                last[index] = place;
            }
            if taken % 100_000 == 0 && let Some((lane, wall, wrong)) = reports.next() {
                let sender = [audio, video][lane];
                clock.report(lane, ntp(wall), sender.rtp(taken.saturating_add_signed(wrong)));
            }
        }
    }
}
