//! When a frame may leave: its decoding time on the wall clock.

use std::time::{Duration, Instant};

/// How much faster than its clock a backlog is sent, parts per million: twice what two bad oscillators differ by, so
/// that a publisher whose clock is fast does not fill anything, and too little to be seen.
const CATCH_UP_PPM: i64 = 200;

/// Silence in media time after which the clock starts anew: the time line jumped.
const JUMP: i64 = 3_000_000;

/// Maps media time to the wall clock. Times of media are microseconds.
#[derive(Debug)]
pub(crate) struct Pace {
    /// How much of the media may be sent ahead of its time: what the player holds back anyway.
    lead: Duration,
    anchor: Option<(Instant, i64)>,
}

impl Pace {
    pub(crate) fn new(lead: Duration) -> Self {
        Self { lead, anchor: None }
    }

    /// When a frame of that decoding time may be sent; the first one at once.
    pub(crate) fn due(&self, media: i64, now: Instant) -> Instant {
        let Some((at, start)) = self.anchor else { return now };
        let after = media - start;
        let after = after - after.max(0) * CATCH_UP_PPM / 1_000_000;
        let lead = i64::try_from(self.lead.as_micros()).unwrap_or(i64::MAX);
        let micros = |time: i64| Duration::from_micros(time.unsigned_abs());
        match after.saturating_sub(lead) {
            ahead @ 0.. => at + micros(ahead),
            behind => at.checked_sub(micros(behind)).unwrap_or(at),
        }
    }

    /// Whether a first frame was sent.
    pub(crate) fn is_running(&self) -> bool {
        self.anchor.is_some()
    }

    /// Media that is due at `now` or earlier has a decoding time up to this; before the first frame, nothing has.
    pub(crate) fn horizon(&self, now: Instant) -> i64 {
        let Some((at, start)) = self.anchor else { return i64::MIN };
        let since = now.saturating_duration_since(at) + self.lead;
        start.saturating_add(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// A frame is sent. One that comes later than the lead makes up for moves the clock: what follows it keeps its
    /// distance.
    pub(crate) fn sent(&mut self, media: i64, now: Instant) {
        let late = self.anchor.is_none() || self.due(media, now) + self.lead < now;
        if late {
            self.anchor = Some((now, media));
        }
    }

    /// The next frame that there is. Moves the clock if the time line jumped ahead.
    pub(crate) fn next(&mut self, media: i64, now: Instant) {
        if self.anchor.is_some() && media.saturating_sub(self.horizon(now)) > JUMP {
            self.restart();
        }
    }

    /// Begins again with the next frame.
    pub(crate) fn restart(&mut self) {
        self.anchor = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000;
    const LEAD: Duration = Duration::from_millis(120);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Sends 25 frames per second that are `ready(frame)` at the given time; returns when each went out.
    fn run(frames: u64, ready: impl Fn(u64) -> Duration) -> Vec<Duration> {
        let start = Instant::now();
        let (mut pace, mut now, mut out) = (Pace::new(LEAD), start, Vec::new());
        for frame in 0..frames {
            let media = frame as i64 * 40 * MS;
            now = now.max(start + ready(frame));
            pace.next(media, now);
            now = now.max(pace.due(media, now));
            pace.sent(media, now);
            out.push(now - start);
        }
        out
    }

    #[test]
    fn a_backlog_leaves_in_real_time_after_the_lead() {
        let out = run(250, |_| Duration::ZERO);
        assert_eq!(&out[..4], &[Duration::ZERO; 4], "the first 120 ms at once");
        for (frame, at) in out.iter().enumerate().skip(4) {
            let due = Duration::from_millis(frame as u64 * 40 - 120);
            assert!(*at <= due && due - *at <= ms(3), "frame {frame} at {at:?}, due {due:?}");
        }
    }

    #[test]
    fn live_frames_leave_as_they_come_and_jitter_within_the_lead_adds_nothing() {
        let came = |frame: u64| ms(frame * 40 + if frame % 10 == 3 { 100 } else { 0 });
        for (frame, at) in run(500, came).into_iter().enumerate() {
            // What queues behind the late one.
            let slack = ms(match frame % 10 {
                4 => 60,
                5 => 20,
                _ => 1,
            });
            assert!(at - came(frame as u64) <= slack, "frame {frame} at {at:?}");
        }
    }

    #[test]
    fn after_a_stall_the_rest_keeps_its_distance() {
        // Two seconds of nothing after 50 frames, then all of it at once.
        let out = run(200, |frame| if frame < 50 { ms(frame * 40) } else { ms((frame * 40).max(4_000)) });
        assert_eq!(out[50], ms(4_000));
        let burst = out.iter().filter(|at| **at == ms(4_000)).count();
        assert_eq!(burst, 4, "no more than the lead");
        assert!(out[100] - out[50] <= ms(2_000) && out[100] - out[50] >= ms(1_870));
    }

    #[test]
    fn a_jump_ahead_starts_the_clock_anew() {
        let start = Instant::now();
        let mut pace = Pace::new(LEAD);
        pace.sent(0, start);
        pace.next(1_000 * MS, start);
        assert!(pace.due(1_000 * MS, start) > start);
        pace.next(3_600_000 * MS, start);
        assert_eq!(pace.due(3_600_000 * MS, start), start);
    }

    #[test]
    fn a_fast_publisher_never_builds_up() {
        // Its clock is 100 ppm fast: an hour of media takes 360 ms less.
        let out = run(90_000, |frame| Duration::from_micros(frame * 39_996));
        let (last, came) = (out[89_999], Duration::from_micros(89_999 * 39_996));
        assert!(last - came < ms(1), "{:?} behind", last - came);
    }
}
