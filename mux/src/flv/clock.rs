//! Message times on 32 bits (or 31) to the broadcast's time line.

/// A step that still counts as the same clock, either way.
const STEP_MAX_MS: i64 = 10_000;

/// Where the first message lands: later ones may lie as far before it.
const ORIGIN_MS: i64 = STEP_MAX_MS;

/// Frames of one track in a row that lie before its newest one before the sender counts as restarted.
const BACKWARDS_MAX: u8 = 3;

/// Taken for the time between two frames until a track has shown it.
const FRAME_MS: i64 = 40;

/// A step between frames that is longer is a pause.
const FRAME_MAX_MS: i64 = 1000;

/// Maps times. Every track has its own idea of what is forward; all share at most two clocks, because sound and pictures
/// of some senders run on clocks that have nothing to do with each other.
#[derive(Debug, Default)]
pub(super) struct Clock {
    current: Option<Epoch>,
    other: Option<Epoch>,
}

/// What the clock keeps per track.
#[derive(Debug, Default)]
pub(super) struct Lane {
    last: Option<i64>,
    step: Option<i64>,
    backwards: u8,
}

/// One uninterrupted clock of the sender.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    raw: u32,
    /// The same moment on our line.
    out: i64,
}

/// A time on our line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Milliseconds.
    pub(super) time_ms: i64,
    /// The sender's clock jumped here.
    pub(super) jumped: bool,
}

impl Clock {
    /// The time of the next frame of a track.
    pub(super) fn stamp(&mut self, lane: &mut Lane, raw: u32) -> Stamp {
        let newest = self.current.get_or_insert(Epoch { raw, out: ORIGIN_MS });
        let time = match (newest.place(raw), lane.last) {
            (Some(time), Some(last)) if time < last && lane.runs_backwards() => return self.jump(lane, raw),
            (Some(time), last) => {
                newest.follow(raw, time);
                time.max(last.unwrap_or(time))
            }
            (None, last) => match self.place_on_other(raw, last) {
                Some(time) => time,
                None => return self.jump(lane, raw),
            },
        };
        lane.advance(time);
        Stamp { time_ms: time, jumped: false }
    }

    fn place_on_other(&mut self, raw: u32, last: Option<i64>) -> Option<i64> {
        let epoch = self.other.as_mut()?;
        let time = epoch.place(raw).filter(|time| last.is_none_or(|last| *time >= last))?;
        epoch.follow(raw, time);
        Some(time)
    }

    /// A new clock: the track goes on one frame after its last one. A track that only begins does so now.
    fn jump(&mut self, lane: &mut Lane, raw: u32) -> Stamp {
        let now = self.current.map_or(ORIGIN_MS, |epoch| epoch.out);
        let time = lane.last.map_or(now, |last| last + lane.step.unwrap_or(FRAME_MS));
        self.other = self.current.replace(Epoch { raw, out: time });
        let jumped = lane.last.is_some();
        lane.advance(time);
        Stamp { time_ms: time, jumped }
    }
}

impl Lane {
    /// One frame more that lies before the newest one; true when it is no disorder any more.
    fn runs_backwards(&mut self) -> bool {
        self.backwards += 1;
        self.backwards >= BACKWARDS_MAX
    }

    fn advance(&mut self, time: i64) {
        if let Some(step) = self.last.map(|last| time - last)
            && step > 0
        {
            self.backwards = 0;
            if step < FRAME_MAX_MS {
                self.step = Some(step);
            }
        }
        self.last = Some(time);
    }
}

impl Epoch {
    /// Where `raw` lies, if it belongs to this clock. Writers that keep only 31 bits return to 0 from there.
    fn place(&self, raw: u32) -> Option<i64> {
        const HALF: u32 = 1 << 31;
        let step = raw.wrapping_sub(self.raw);
        let whole = i64::from(step.cast_signed());
        let half =
            if raw < HALF && self.raw < HALF { i64::from((step << 1).cast_signed() >> 1) } else { whole };
        let fits = |step: &i64| step.abs() <= STEP_MAX_MS;
        Some(whole).filter(fits).or(Some(half).filter(fits)).map(|step| self.out + step)
    }

    fn follow(&mut self, raw: u32, time: i64) {
        if time > self.out {
            *self = Self { raw, out: time };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(times: &[u32]) -> Vec<(i64, bool)> {
        let (mut clock, mut lane) = (Clock::default(), Lane::default());
        times
            .iter()
            .map(|raw| clock.stamp(&mut lane, *raw))
            .map(|stamp| (stamp.time_ms - ORIGIN_MS, stamp.jumped))
            .collect()
    }

    #[test]
    fn both_wraps_are_no_jumps() {
        let expected = [(0, false), (40, false), (80, false)];
        assert_eq!(run(&[u32::MAX - 20, 19, 59]), expected);
        // As ffmpeg and OBS write them: 2147483640 is followed by 32.
        assert_eq!(run(&[0x7fff_fff8, 32, 72]), expected);
        assert_eq!(run(&[0x7fff_fff8, 0x8000_0020, 0x8000_0048]), expected, "a sender of 32 bits goes on");
    }

    #[test]
    fn a_restart_goes_on_one_frame_later() {
        assert_eq!(run(&[60_000, 60_040, 0, 40])[2..], [(80, true), (120, false)]);
        assert_eq!(run(&[0, 40, 3_000_000, 3_000_040])[2..], [(80, true), (120, false)]);
        // Within the tolerance: known after three frames.
        let times = run(&[5000, 5040, 0, 40, 80, 120]);
        assert_eq!(times, [(0, false), (40, false), (40, false), (40, false), (80, true), (120, false)]);
    }

    #[test]
    fn a_single_odd_time_is_held() {
        assert_eq!(run(&[0, 40, 20, 80]), [(0, false), (40, false), (40, false), (80, false)]);
        assert_eq!(run(&[0, 40, 40, 80])[2..], [(40, false), (80, false)]);
    }

    #[test]
    fn tracks_on_two_clocks_stay_together() {
        let (mut clock, mut video, mut audio) = (Clock::default(), Lane::default(), Lane::default());
        for frame in 0..1000u32 {
            let picture = clock.stamp(&mut video, frame * 20);
            let sound = clock.stamp(&mut audio, 900_000 + frame * 20);
            assert!(!picture.jumped && !sound.jumped);
            assert_eq!(picture.time_ms, sound.time_ms);
        }
    }

    #[test]
    fn a_second_restart_does_not_return_to_the_first_clock() {
        let times: Vec<u32> =
            (0..100).map(|n| n * 40).chain((0..1000).map(|n| n * 40 + 100_000)).chain([0, 40]).collect();
        let out = run(&times);
        assert_eq!(out[1100], (1100 * 40, true));
        assert!(out.windows(2).all(|pair| pair[1].0 > pair[0].0));
    }
}
