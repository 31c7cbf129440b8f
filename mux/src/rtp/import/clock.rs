//! RTP timestamps of several sources to one time line.
//!
//! Each source counts from a random number at its own rate. Where its first packet lies on the line, its arrival says;
//! how the sources lie to each other, their sender reports say (RFC 3550 section 6.4.1). Times are corrected without ever
//! going back: small differences are spread over frames, and for large ones that which is late is moved forward.

use std::time::Instant;

use moqgate_core::Timestamp;

/// Where the first packet lies, microseconds: other tracks may lie before it.
const ORIGIN: i64 = 2_000_000;

/// A difference that is larger is corrected at once, microseconds: sound and picture that are 50 ms apart are seen to be.
const STEP: i64 = 50_000;

/// One part in so many of the time is added or left out while a small difference is spread.
const SLEW: i64 = 64;

/// A timestamp further from where its arrival would put it, microseconds, belongs to a clock that was set anew.
const JUMP: i64 = 10_000_000;

/// A timestamp further before the newest one, microseconds, is a new beginning; no reordering of pictures reaches as far.
const BACK_MAX: i64 = 1_000_000;

/// What is put between the end of one clock and the start of the next, microseconds.
const SEAM: i64 = 20_000;

/// A report that would move a source further, microseconds, is not about the same clock.
const REPORT_MAX: i64 = 10_000_000;

/// A source whose reports agreed and now are so far off, microseconds, has had its wall clock set.
const WALL_JUMP: i64 = 1_000_000;

/// The common line.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// When the first packet of all came.
    began: Option<Instant>,
    /// Wall clock of the first report; others count from there, so that their range does not matter.
    wall: Option<u64>,
    /// Time line minus wall clock, microseconds.
    offset: Option<i64>,
    lanes: Vec<Lane>,
}

/// One source's timestamps.
#[derive(Debug)]
pub(super) struct Lane {
    rate: i64,
    state: Option<State>,
}

#[derive(Debug)]
struct State {
    /// The last timestamp, as it came and unwrapped.
    raw: u32,
    ticks: i64,
    arrival: Instant,
    /// A timestamp and its place on the line, microseconds.
    anchor: (i64, i64),
    /// The latest place.
    newest: i64,
    /// Still to be spread, microseconds.
    slew: i64,
    /// Wall clock of the last report that was believed, since the first one.
    reported: Option<i64>,
    /// How far off the last report was, if it was not believed for that.
    doubt: Option<i64>,
    /// The next timestamp is one of another source.
    anew: bool,
}

impl State {
    /// The place of a timestamp when all corrections are made.
    fn place(&self, ticks: i64, rate: i64) -> i64 {
        self.anchor.1.saturating_add(micros(ticks - self.anchor.0, rate)).saturating_add(self.slew)
    }

    fn unwrap(&self, raw: u32) -> i64 {
        self.ticks + i64::from(raw.wrapping_sub(self.raw).cast_signed())
    }
}

/// A time on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) time: Timestamp,
    /// The source's clock was set anew here.
    pub(super) jumped: bool,
}

impl Clock {
    /// A lane for timestamps of `rate` ticks per second; its number.
    pub(super) fn add(&mut self, rate: u32) -> usize {
        self.lanes.push(Lane { rate: i64::from(rate.max(1)), state: None });
        self.lanes.len() - 1
    }

    /// The lane goes on with another source.
    pub(super) fn restart(&mut self, lane: usize) {
        let Some(lane) = self.lanes.get_mut(lane) else { return };
        if let Some(state) = &mut lane.state {
            state.reported = None;
            state.anew = true;
        }
    }

    /// The time of a packet of this lane.
    pub(super) fn stamp(&mut self, index: usize, raw: u32, arrival: Instant) -> Option<Stamp> {
        let began = *self.began.get_or_insert(arrival);
        let lane = self.lanes.get_mut(index)?;
        let rate = lane.rate;
        let Some(state) = &mut lane.state else {
            let (place, ticks) = (ORIGIN + between(began, arrival), i64::from(raw));
            lane.state = Some(State {
                raw,
                ticks,
                arrival,
                anchor: (ticks, place),
                newest: place,
                slew: 0,
                reported: None,
                doubt: None,
                anew: false,
            });
            return Some(Stamp { time: at(place), jumped: false });
        };
        let ticks = state.unwrap(raw);
        let step = micros(ticks - state.ticks, rate);
        let passed = between(state.arrival, arrival);
        let before = state.newest - (state.place(ticks, rate) - state.slew);
        let jumped = std::mem::take(&mut state.anew) || (step - passed).abs() > JUMP || before > BACK_MAX;
        if jumped {
            let place = (state.newest + SEAM).max(state.place(state.ticks, rate) + passed);
            (state.anchor, state.slew) = ((ticks, place), 0);
            (state.reported, state.doubt) = (None, None);
        } else {
            let spread = step.max(0) / SLEW;
            let part = state.slew.clamp(-spread, spread);
            state.anchor.1 += part;
            state.slew -= part;
        }
        (state.raw, state.ticks, state.arrival) = (raw, ticks, arrival);
        let place = state.place(ticks, rate) - state.slew;
        state.newest = state.newest.max(place);
        Some(Stamp { time: at(place), jumped })
    }

    /// A sender report: at `ntp` the lane's clock stood at `rtp`. False when it was not believed.
    pub(super) fn report(&mut self, index: usize, ntp: u64, rtp: u32) -> bool {
        if ntp == 0 {
            return false; // A sender without a wall clock.
        }
        let wall = since(*self.wall.get_or_insert(ntp), ntp);
        let Some(lane) = self.lanes.get_mut(index) else { return false };
        let rate = lane.rate;
        let Some(state) = &mut lane.state else { return false };
        let ticks = state.unwrap(rtp);
        // Reports may overtake each other, and repeat.
        let stale = state.reported.is_some_and(|reported| wall <= reported);
        if stale || micros(ticks - state.ticks, rate).abs() > REPORT_MAX {
            return false;
        }
        let measured = state.place(ticks, rate) - wall;
        let error = self.offset.map_or(0, |offset| offset - measured);
        let known = state.reported.is_some();
        let confirmed = state.doubt.take().is_some_and(|doubt| (doubt - error).abs() <= STEP);
        if self.is_alone(index) {
            return self.believe(index, wall, Some(measured));
        }
        if known && error.abs() > STEP && !confirmed {
            // Some senders are careless under load: what is far off has to be said twice.
            return self.doubt(index, error);
        }
        if error.abs() > REPORT_MAX || (known && error.abs() > WALL_JUMP) {
            let others = self.lanes.iter_mut().enumerate().filter(|(other, _)| *other != index);
            others.filter_map(|(_, lane)| lane.state.as_mut()).for_each(|state| state.reported = None);
            return self.believe(index, wall, Some(measured));
        }
        self.believe(index, wall, None);
        self.correct(index, error);
        true
    }

    /// Nobody else has reported: there is nothing to be brought together.
    fn is_alone(&self, index: usize) -> bool {
        let others = self.lanes.iter().enumerate().filter(|(other, _)| *other != index);
        !others.filter_map(|(_, lane)| lane.state.as_ref()).any(|state| state.reported.is_some())
    }

    fn believe(&mut self, index: usize, wall: i64, offset: Option<i64>) -> bool {
        self.offset = offset.or(self.offset);
        if let Some(state) = self.state(index) {
            state.reported = Some(wall);
        }
        true
    }

    fn doubt(&mut self, index: usize, error: i64) -> bool {
        if let Some(state) = self.state(index) {
            state.doubt = Some(error);
        }
        false
    }

    fn state(&mut self, index: usize) -> Option<&mut State> {
        self.lanes.get_mut(index)?.state.as_mut()
    }

    /// Moves a lane by so much.
    fn correct(&mut self, index: usize, error: i64) {
        if error < -STEP {
            self.advance(index, -error);
        } else if let Some(state) = self.state(index) {
            if error > STEP {
                state.anchor.1 += error;
            } else {
                state.slew += error;
            }
        }
    }

    /// This lane is ahead of the others: they follow, for it cannot go back.
    fn advance(&mut self, ahead: usize, by: i64) {
        self.offset = self.offset.map(|offset| offset + by);
        let others = self.lanes.iter_mut().enumerate().filter(|(index, _)| *index != ahead);
        for state in others.filter_map(|(_, lane)| lane.state.as_mut()) {
            if state.reported.is_some() {
                state.anchor.1 += by;
            }
        }
    }
}

/// Wall-clock microseconds from one report to another, in either direction and over the end of the era.
fn since(first: u64, ntp: u64) -> i64 {
    let step = i128::from(ntp.wrapping_sub(first).cast_signed());
    i64::try_from((step * 1_000_000) >> 32).unwrap_or_default()
}

fn micros(ticks: i64, rate: i64) -> i64 {
    let micros = (i128::from(ticks) * 1_000_000 + i128::from(rate) / 2).div_euclid(i128::from(rate));
    i64::try_from(micros).unwrap_or_default()
}

fn between(earlier: Instant, later: Instant) -> i64 {
    i64::try_from(later.saturating_duration_since(earlier).as_micros()).unwrap_or(i64::MAX / 4)
}

fn at(place: i64) -> Timestamp {
    Timestamp::from_micros(place.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests;
