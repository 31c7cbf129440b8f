//! One timeline for all streams of a program, from 33-bit timestamps that wrap, jump, loop and lie.
//!
//! - A **wrap** is nothing: differences are modular, so a step over 2^33 is a small step.
//! - A **long step** (more than 10 s either way) that is confirmed is a new *epoch*: an encoder restart, a splice or a
//!   loop. The timeline goes on where it was, with one new offset for all streams. A broken PCR, an announced
//!   discontinuity, new tables, or a second timestamp near the first confirm it.
//! - A single odd value is ignored; the unit gets the time that was expected.
//! - A **short step back** is disorder and the unit is dropped, unless the PCR went back too, or unit after unit runs
//!   forward behind it: then it is a loop shorter than 10 s.
//! - A stream that has not crossed into the new epoch yet may finish the old one: muxers interleave the ends.

use std::time::Duration;

use moqgate_core::Timestamp;

use super::limits::{
    BACKWARDS_UNITS_MAX, CLOCK_ORIGIN, CLOCK_STEP_MAX, PCR_STEP_MAX, PTS_LEAD_MAX, REORDER_MAX,
};
use super::pes::Class;

/// Assumed distance of two units while nothing better is known: 40 ms.
const UNIT_TICKS: i64 = 3600;

/// One second of 90 kHz ticks.
const SECOND: i64 = 90_000;

const WRAP: i64 = 1 << 33;

/// The clock of one program.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    current: Option<Epoch>,
    previous: Option<Epoch>,
    streams: Vec<Stream>,
    pcr: Option<i64>,
    /// PCR after a break of its sequence, and until when on the timeline units are expected to follow it.
    broken_pcr: Option<(i64, i64)>,
    /// Until when, on the timeline, a jump is expected, and whether the sender announced it.
    hint: Option<Hint>,
    /// A lone timestamp far from the clock.
    odd: Option<(u16, i64)>,
    jumps: u64,
    /// A stream of sound or pictures steers; until then data does.
    has_media: bool,
}

/// Times of one unit on the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) pts: Timestamp,
    pub(crate) dts: Option<Timestamp>,
    /// A new epoch begins with this unit, and nothing of it is out yet.
    pub(crate) jumped: bool,
    /// The content of this stream jumps with this unit.
    pub(crate) crossed: bool,
}

/// Why a unit has no stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It lies before the unit ahead of it.
    Backwards,
    /// It is far from the clock, alone, and first of its stream.
    Odd,
}

#[derive(Debug, Clone, Copy)]
struct Epoch {
    number: u64,
    /// The last timestamp that steered, unwrapped.
    reference: i64,
    /// Timeline minus timestamp.
    offset: i64,
}

#[derive(Debug, Clone, Copy)]
struct Hint {
    until: i64,
    announced: bool,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    pid: u16,
    epoch: u64,
    /// Last decode time, unwrapped in its epoch.
    last: i64,
    /// The same on the timeline.
    out: i64,
    /// Distance of the last two units.
    step: i64,
    /// Its times move the clock; those of data do not once there is sound or a picture.
    steers: bool,
    /// Its last unit was far from the clock.
    odd: bool,
    backwards: u8,
    /// Last timestamp that ran backwards.
    behind: i64,
}

enum Place {
    Current(i64),
    Previous(i64),
    Jump,
    Odd,
    Backwards,
}

impl Clock {
    /// Places a unit with `pts` and, where the container has one, `dts`: 33 bits at 90 kHz.
    pub(crate) fn stamp(
        &mut self,
        pid: u16,
        class: Class,
        pts: u64,
        dts: Option<u64>,
    ) -> Result<Stamp, Refused> {
        let time = dts.unwrap_or(pts) as i64 % WRAP;
        let media = class != Class::Data;
        let steers = media || !self.has_media;
        // Data may have begun on a clock of its own; the first sound or picture says which one counts.
        let fits = |epoch: &Epoch| difference(time, epoch.reference).abs() <= CLOCK_STEP_MAX;
        let current = self.current.filter(|epoch| self.has_media || !media || fits(epoch));
        self.has_media |= media;
        let Some(current) = current else {
            let jumped = self.begin(time, None);
            return Ok(self.accept(pid, time, Times { pts, dts, jumped, steers }));
        };
        let stream = self.streams.iter().position(|stream| stream.pid == pid);
        let reorders = class == Class::Video && dts.is_none();
        match self.place(current, &Unit { pid, time, stream, reorders, steers }) {
            Place::Current(unwrapped) => {
                Ok(self.accept(pid, unwrapped, Times { pts, dts, jumped: false, steers }))
            }
            Place::Previous(unwrapped) => {
                Ok(self.accept_previous(pid, unwrapped, Times { pts, dts, jumped: false, steers }))
            }
            Place::Jump => {
                // The jump came with the odd unit, which is out already: nothing is interrupted here.
                let late = self.odd.is_some();
                let jumped = self.begin(time, stream.map(|index| self.streams[index].step)) && !late;
                Ok(self.accept(pid, time, Times { pts, dts, jumped, steers }))
            }
            Place::Odd if !steers => Ok(Stamp::at(current.reference + current.offset)),
            Place::Odd => {
                self.odd = Some((pid, time));
                let stream = &mut self.streams[stream.ok_or(Refused::Odd)?];
                stream.out += stream.step;
                stream.odd = true;
                Ok(Stamp {
                    // Sound can go on behind half a frame; pictures would have to wait for a keyframe.
                    crossed: class == Class::Audio,
                    dts: dts.map(|_| to_timestamp(stream.out)),
                    ..Stamp::at(stream.out + lead(pts, dts))
                })
            }
            Place::Backwards => Err(Refused::Backwards),
        }
    }

    /// The timeline's present: where data without a time of its own belongs. None before the first timestamp.
    pub(crate) fn now(&mut self, pid: u16) -> Option<Timestamp> {
        if !self.has_media
            && let Some(pcr) = self.pcr
        {
            return self.stamp(pid, Class::Data, pcr as u64, None).ok().map(|stamp| stamp.pts);
        }
        self.present().map(to_timestamp)
    }

    /// What has to be added to a 33-bit time of the input to get the timeline's, modulo 2^33.
    pub(crate) fn offset(&self) -> u64 {
        self.current.map_or(0, |epoch| epoch.offset.rem_euclid(WRAP) as u64)
    }

    /// A PCR of the program: its 90 kHz base, and whether its packet announces a discontinuity (H.222.0 2.4.3.5).
    pub(crate) fn pcr(&mut self, base: u64, discontinuity: bool) {
        let base = base as i64 % WRAP;
        if let Some(last) = self.pcr.replace(base) {
            let step = difference(base, last);
            if discontinuity || !(0..=PCR_STEP_MAX).contains(&step) {
                self.broken_pcr = self.present().map(|present| (base, present + SECOND));
            }
        }
        if discontinuity {
            self.expect_jump(true);
        }
    }

    /// Something else speaks for a new clock soon: new tables, or packets missing where the PCR is.
    pub(crate) fn expect_jump(&mut self, announced: bool) {
        if let Some(present) = self.present() {
            let announced = announced || self.hint.is_some_and(|hint| hint.announced);
            self.hint = Some(Hint { until: present + SECOND, announced });
        }
    }

    /// Distance of the stream's last two units.
    pub(crate) fn unit_time(&self, pid: u16) -> Duration {
        let stream = self.streams.iter().find(|stream| stream.pid == pid);
        Duration::from_micros(micros(stream.map_or(UNIT_TICKS, |stream| stream.step)))
    }

    /// The stream is gone.
    pub(crate) fn forget(&mut self, pid: u16) {
        self.streams.retain(|stream| stream.pid != pid);
    }

    /// How often a new epoch began.
    pub(crate) fn jumps(&self) -> u64 {
        self.jumps
    }

    fn place(&mut self, current: Epoch, unit: &Unit) -> Place {
        let Unit { time, steers, reorders, .. } = *unit;
        let present = current.reference + current.offset;
        let hint = self.hint.filter(|hint| hint.until >= present);
        let near = |other: i64| difference(time, other).abs() <= CLOCK_STEP_MAX;
        let near_pcr = self.broken_pcr.is_some_and(|(pcr, until)| until >= present && near(pcr));
        let unwrapped = current.reference + difference(time, current.reference);

        if let Some(stream) = unit.stream.map(|index| self.streams[index])
            && steers
            && stream.epoch != current.number
            && self.previous.is_some_and(|previous| previous.number == stream.epoch)
        {
            let step = difference(time, stream.last);
            let back = if reorders { -REORDER_MAX } else { 0 };
            if (back..=SECOND).contains(&step) {
                return Place::Previous(stream.last + step);
            }
        }
        if !near(current.reference) {
            let confirmed = near_pcr || hint.is_some() || self.odd.is_some_and(|(_, odd)| near(odd));
            return if confirmed && steers { Place::Jump } else { Place::Odd };
        }
        self.odd = self.odd.filter(|(pid, _)| *pid != unit.pid);
        let Some(stream) = unit.stream.map(|index| &mut self.streams[index]) else {
            return Place::Current(unwrapped);
        };
        let step = unwrapped + current.offset - stream.out;
        if hint.is_some_and(|hint| hint.announced) && near_pcr && steers && step.abs() > SECOND {
            return Place::Jump;
        }
        if step >= 0 || !steers || (reorders && step >= -REORDER_MAX) {
            stream.backwards = 0;
            return Place::Current(unwrapped);
        }
        if stream.epoch != current.number {
            // It comes into the new epoch with less than it had in the old one.
            return Place::Backwards;
        }
        if near_pcr {
            return Place::Jump;
        }
        stream.run_backwards(time)
    }

    /// Where the timeline has come to.
    fn present(&self) -> Option<i64> {
        self.current.map(|epoch| epoch.reference + epoch.offset)
    }

    /// Starts an epoch in which `time` follows the end of the timeline; tells whether there was one before.
    fn begin(&mut self, time: i64, step: Option<i64>) -> bool {
        let ends = self.streams.iter().filter(|stream| stream.steers).map(|stream| stream.out);
        let start = match ends.chain(self.present()).max() {
            Some(end) => end + step.unwrap_or(UNIT_TICKS),
            None => CLOCK_ORIGIN,
        };
        let number = self.current.map_or(0, |epoch| epoch.number + 1);
        self.previous = self.current.replace(Epoch { number, reference: time, offset: start - time });
        self.hint = None;
        self.broken_pcr = None;
        self.odd = None;
        self.jumps += u64::from(number > 0);
        number > 0
    }

    fn accept(&mut self, pid: u16, unwrapped: i64, times: Times) -> Stamp {
        let Some(epoch) = &mut self.current else { return Stamp::at(CLOCK_ORIGIN) };
        if times.steers {
            epoch.reference = unwrapped;
        }
        let epoch = *epoch;
        self.advance(pid, epoch, unwrapped, times)
    }

    fn accept_previous(&mut self, pid: u16, unwrapped: i64, times: Times) -> Stamp {
        let Some(epoch) = &mut self.previous else { return Stamp::at(CLOCK_ORIGIN) };
        epoch.reference = unwrapped;
        let epoch = *epoch;
        self.advance(pid, epoch, unwrapped, times)
    }

    fn advance(&mut self, pid: u16, epoch: Epoch, last: i64, times: Times) -> Stamp {
        let out = last + epoch.offset;
        let mut crossed = false;
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.pid == pid) {
            let step = out - stream.out;
            if (1..=SECOND).contains(&step) {
                stream.step = step;
            }
            crossed = stream.epoch != epoch.number && !stream.odd;
            let steers = times.steers;
            *stream = Stream { epoch: epoch.number, last, out, steers, odd: false, backwards: 0, ..*stream };
        } else {
            let (epoch, steers) = (epoch.number, times.steers);
            self.streams.push(Stream {
                pid,
                epoch,
                last,
                out,
                step: UNIT_TICKS,
                steers,
                odd: false,
                backwards: 0,
                behind: 0,
            });
        }
        Stamp {
            pts: to_timestamp(out + lead(times.pts, times.dts)),
            dts: times.dts.map(|_| to_timestamp(out)),
            jumped: times.jumped,
            crossed,
        }
    }
}

/// What decides where a unit belongs.
struct Unit {
    pid: u16,
    /// Decode time, 33 bits.
    time: i64,
    /// Index of its stream, if that has been seen.
    stream: Option<usize>,
    /// The time is that of display, which runs back and forth.
    reorders: bool,
    steers: bool,
}

struct Times {
    pts: u64,
    dts: Option<u64>,
    jumped: bool,
    steers: bool,
}

impl Stamp {
    fn at(ticks: i64) -> Self {
        Self { pts: to_timestamp(ticks), dts: None, jumped: false, crossed: false }
    }
}

impl Stream {
    /// A unit in front of the last one: disorder, until several in a row run forward among themselves.
    fn run_backwards(&mut self, time: i64) -> Place {
        let forward = self.backwards > 0 && difference(time, self.behind) > 0;
        self.backwards = if forward { self.backwards + 1 } else { 1 };
        self.behind = time;
        if self.backwards >= BACKWARDS_UNITS_MAX { Place::Jump } else { Place::Backwards }
    }
}

/// How far the PTS lies behind the DTS; 0 when that cannot be.
fn lead(pts: u64, dts: Option<u64>) -> i64 {
    let lead = dts.map_or(0, |dts| difference(pts as i64, dts as i64));
    if (0..=PTS_LEAD_MAX).contains(&lead) { lead } else { 0 }
}

/// `a - b` on the 33-bit circle, between -2^32 and 2^32.
fn difference(a: i64, b: i64) -> i64 {
    let forward = (a - b).rem_euclid(WRAP);
    if forward >= WRAP / 2 { forward - WRAP } else { forward }
}

fn to_timestamp(ticks: i64) -> Timestamp {
    Timestamp::from_micros(micros(ticks))
}

fn micros(ticks: i64) -> u64 {
    ticks.max(0).unsigned_abs() * 100 / 9
}

#[cfg(test)]
mod tests;
