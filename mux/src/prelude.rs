//! The start of a program, told in one piece.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use moqgate_core::Timestamp;

use crate::event::Event;

/// How much of the start is held back while a stream has not shown its parameters yet: the sound of many muxes begins
/// half a second after the picture, and a new viewer has to wait for a keyframe longer than this.
const PRELUDE_SPAN_MAX: Duration = Duration::from_secs(1);

/// And how many bytes: a second of a contribution feed.
const PRELUDE_BYTES_MAX: usize = 8 << 20;

/// And how many events: frames of a second, and parameters that change for no reason.
const PRELUDE_EVENTS_MAX: usize = 4096;

/// Holds the first events back until every media stream of the program has shown its parameters.
///
/// A reader that is told of the picture first and of the sound a moment later has to choose: many players and every
/// muxer fix their set of tracks with the first catalog. What is held loses no time that the sound has not lost already,
/// and a stream that stays silent is waited for only so long.
#[derive(Debug, Default)]
pub(crate) struct Prelude {
    held: VecDeque<Event>,
    bytes: usize,
    first: Option<Timestamp>,
    deadline: Option<Instant>,
    over: bool,
}

impl Prelude {
    /// Takes an event on its way to `out`.
    pub(crate) fn pass(&mut self, event: Event, out: &mut VecDeque<Event>) {
        // A problem changes nothing, and a sender may have nothing but problems.
        if self.over || matches!(event, Event::Problem(_)) {
            out.push_back(event);
            return;
        }
        let mut full = self.held.len() >= PRELUDE_EVENTS_MAX;
        if let Event::Frame { frame, .. } = &event {
            let first = *self.first.get_or_insert(frame.pts);
            self.bytes += frame.payload.len();
            let span = frame.pts.checked_sub(first).unwrap_or_default();
            full |= span > PRELUDE_SPAN_MAX || self.bytes > PRELUDE_BYTES_MAX;
        }
        self.held.push_back(event);
        if full {
            self.end(out);
        }
    }

    /// Lets everything go, the tracks first, and holds nothing any more.
    pub(crate) fn end(&mut self, out: &mut VecDeque<Event>) {
        self.over = true;
        let (mut tracks, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.held).into_iter().partition(|event| matches!(event, Event::Track(_)));
        // Pictures first, whichever showed its parameters first: names then do not depend on the sender's start.
        let is_video = |event: &Event| matches!(event, Event::Track(track) if track.config.kind() == "video");
        tracks.sort_by_key(|event| !is_video(event));
        out.extend(tracks);
        out.extend(rest);
    }

    /// Whether events are still held back.
    pub(crate) fn is_open(&self) -> bool {
        !self.over
    }

    /// Gives up on silent streams when the input itself has fallen silent.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Event>) {
        if self.over || self.held.is_empty() {
            return;
        }
        let deadline = *self.deadline.get_or_insert(now + 2 * PRELUDE_SPAN_MAX);
        if now >= deadline {
            self.end(out);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadline.filter(|_| !self.over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{CodecConfig, DataConfig, DataKind, MediaFrame, Track, TrackId};

    fn track(id: u32) -> Event {
        let config = CodecConfig::Data(DataConfig { kind: DataKind::Klv });
        Event::Track(Track { id: TrackId(id), config, language: None, origin: None })
    }

    fn frame(id: u32, micros: u64) -> Event {
        let payload = bytes::Bytes::from_static(b"x");
        let frame = MediaFrame { pts: Timestamp::from_micros(micros), dts: None, keyframe: true, payload };
        Event::Frame { track: TrackId(id), frame }
    }

    #[test]
    fn tracks_are_told_before_what_was_held() {
        let (mut prelude, mut out) = (Prelude::default(), VecDeque::new());
        for event in [track(0), frame(0, 0), track(1), frame(1, 0)] {
            prelude.pass(event, &mut out);
        }
        assert!(out.is_empty());
        prelude.end(&mut out);
        assert_eq!(Vec::from(out.clone()), [track(0), track(1), frame(0, 0), frame(1, 0)]);
        prelude.pass(frame(0, 1), &mut out);
        assert_eq!(out.back(), Some(&frame(0, 1)));
    }

    #[test]
    fn line_50_nothing_piles_up() {
        let (mut prelude, mut out) = (Prelude::default(), VecDeque::new());
        let problem = Event::Problem(crate::event::Problem { track: None, reason: "x" });
        prelude.pass(problem.clone(), &mut out);
        assert_eq!(out.pop_front(), Some(problem));
        (0..PRELUDE_EVENTS_MAX).for_each(|_| prelude.pass(Event::Discontinuity, &mut out));
        assert!(out.is_empty());
        prelude.pass(Event::Discontinuity, &mut out);
        assert_eq!(out.len(), PRELUDE_EVENTS_MAX + 1);
    }

    #[test]
    fn a_silent_stream_is_waited_for_only_so_long() {
        let (mut prelude, mut out) = (Prelude::default(), VecDeque::new());
        prelude.pass(track(0), &mut out);
        prelude.pass(frame(0, 0), &mut out);
        prelude.pass(frame(0, 1_000_000), &mut out);
        assert!(out.is_empty());
        prelude.pass(frame(0, 1_000_001), &mut out);
        assert_eq!(out.len(), 4);

        let (mut prelude, mut out) = (Prelude::default(), VecDeque::new());
        #[expect(clippy::disallowed_methods, reason = "a test is where time comes from")]
        let now = Instant::now();
        prelude.handle_timeout(now, &mut out);
        assert_eq!(prelude.poll_timeout(), None, "nothing is held");
        prelude.pass(track(0), &mut out);
        prelude.handle_timeout(now, &mut out);
        let deadline = prelude.poll_timeout().unwrap();
        prelude.handle_timeout(deadline, &mut out);
        assert_eq!(Vec::from(out), [track(0)]);
    }
}
