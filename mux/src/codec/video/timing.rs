//! Which picture a timestamp belongs to, and the time of pictures that have none.

use std::time::Duration;

use moqgate_core::Timestamp;

/// Times as a packet gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) pts: Timestamp,
    pub(crate) dts: Option<Timestamp>,
}

impl Time {
    fn decode(self) -> Timestamp {
        self.dts.unwrap_or(self.pts)
    }
}

/// A step between pictures that is longer than this is a pause, not a frame duration.
const FRAME_DURATION_MAX: Duration = Duration::from_secs(1);

/// Assumed until the stream shows or declares another rate: 25 per second.
pub(crate) const FRAME_DURATION_DEFAULT: Duration = Duration::from_millis(40);

/// Longest lead of sending over display that is believed: 16 pictures (the largest decoded picture buffer) at 8 per
/// second.
const LEAD_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct Timing {
    /// Where the newest packet begins in the working data.
    pub(crate) packet_start: usize,
    current: Option<Time>,
    previous: Option<Time>,
    last: Option<Time>,
    step: Option<Duration>,
}

impl Timing {
    /// A packet begins at `start`. `began_before`: the open NAL unit began in the packet before it, whose time it may
    /// still need.
    pub(crate) fn packet(&mut self, start: usize, time: Option<Time>, began_before: bool) {
        if began_before {
            self.previous = self.current;
        }
        self.current = time;
        self.packet_start = start;
    }

    /// The time of the first unit that begins in a packet: only the first caller per packet gets it.
    pub(crate) fn take(&mut self, code: usize) -> Option<Time> {
        if code >= self.packet_start { self.current.take() } else { self.previous.take() }
    }

    /// Completes the time of the next picture in decoding order.
    pub(crate) fn stamp(&mut self, time: Option<Time>, framerate: Option<f64>) -> Option<Time> {
        let step = framerate.and_then(frame_duration).or(self.step).unwrap_or(FRAME_DURATION_DEFAULT);
        let time = match (time, self.last) {
            (Some(time), _) => time,
            (None, Some(last)) => {
                Time { pts: last.pts.checked_add(step)?, dts: last.dts.and_then(|dts| dts.checked_add(step)) }
            }
            (None, None) => return None,
        };
        // A decoding time behind the presentation time cannot be met; it says nothing.
        let time = Time { pts: time.pts, dts: time.dts.filter(|dts| *dts < time.pts) };
        let seen = self.last.and_then(|last| time.decode().checked_sub(last.decode()));
        self.step = seen.filter(|step| !step.is_zero() && *step < FRAME_DURATION_MAX).or(self.step);
        self.last = Some(time);
        Some(time)
    }

    pub(crate) fn rebase(&mut self, base: usize) {
        self.packet_start = self.packet_start.saturating_sub(base);
    }

    pub(crate) fn abandon(&mut self) {
        self.current = None;
        self.previous = None;
        self.packet_start = 0;
    }
}

/// How much earlier than its display a picture is sent, in whole frames.
pub(crate) fn lead(time: Time, framerate: Option<f64>) -> Duration {
    let Some(lead) = time.pts.checked_sub(time.decode()) else { return Duration::ZERO };
    let Some(frame) = framerate.and_then(frame_duration) else { return lead.min(LEAD_MAX) };
    // A tick of rounding must not make another frame of it.
    let frames = (lead.as_secs_f64() / frame.as_secs_f64() - 0.1).ceil().clamp(0.0, 1000.0);
    frame.mul_f64(frames).min(LEAD_MAX)
}

/// Seconds per frame; `None` for rates that no camera has.
pub(crate) fn frame_duration(framerate: f64) -> Option<Duration> {
    (1.0..=1000.0).contains(&framerate).then(|| Duration::from_secs_f64(1.0 / framerate))
}
