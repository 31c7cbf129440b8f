//! All tracks in one order: that in which a container has to hold them.

use std::collections::VecDeque;

use bytes::Bytes;
use moqgate_core::Timestamp;

use super::order::DecodeOrder;
use super::source::{Coding, Source, Video};
use crate::codec::boxes;
use crate::codec::inband::InBand;

/// How long one track is waited for by the others, microseconds: sound that comes in bursts of eight frames (170 ms) still
/// finds its place, and a track that has gone silent holds nobody up for longer.
const WAIT_MAX: i64 = 200_000;

/// How long sound waits for the first keyframe before a stream begins without pictures, microseconds.
pub(crate) const START_WAIT_MAX: i64 = 2_000_000;

/// How much sound may lie before the first picture, microseconds. Priming and reordering put some there when a broadcast
/// begins.
pub(crate) const START_LEAD_MAX: i64 = 200_000;

/// A unit so far before the newest one belongs to a time line that has begun anew, microseconds.
const RESTART: i64 = 10_000_000;

/// Bytes that may wait: two seconds of a contribution feed.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// What a unit costs beside its bytes, so that many empty ones do not wait for nothing.
const UNIT_BYTES: usize = 128;

/// One access unit in its place.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// Microseconds on the broadcast's time line.
    pub(crate) pts: i64,
    /// Microseconds; may lie before zero.
    pub(crate) dts: i64,
    pub(crate) keyframe: bool,
    /// The codec's bytes; H.264 and H.265 in Annex B with their sets in front of keyframes.
    pub(crate) data: Bytes,
}

/// Takes frames track by track and gives units in decoding order over all of them.
#[derive(Debug, Default)]
pub(crate) struct Lineup {
    lanes: Vec<Lane>,
    started: bool,
    /// Other tracks have nothing to say before this.
    begin: Option<i64>,
    /// Nothing more will come.
    over: bool,
    /// Newest decoding time of all.
    newest: Option<i64>,
    bytes: usize,
}

#[derive(Debug)]
struct Lane {
    source: Source,
    order: DecodeOrder,
    joined: bool,
    /// Newest decoding time that was put in.
    last: Option<i64>,
    waiting: VecDeque<Unit>,
}

impl Unit {
    fn cost(&self) -> usize {
        self.data.len() + UNIT_BYTES
    }
}

impl Lineup {
    /// The tracks from here on. What waits of those that stay, stays.
    pub(crate) fn set(&mut self, sources: Vec<Source>) {
        let mut known = std::mem::take(&mut self.lanes);
        self.lanes = sources
            .into_iter()
            .map(|source| {
                let same =
                    |lane: &Lane| lane.source.name == source.name && lane.source.coding == source.coding;
                match known.iter().position(same) {
                    Some(index) => Lane { source, ..known.swap_remove(index) },
                    None => Lane::new(source),
                }
            })
            .collect();
        self.bytes = self.lanes.iter().flat_map(|lane| &lane.waiting).map(Unit::cost).sum();
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.lanes.iter().map(|lane| &lane.source)
    }

    /// Takes the next frame of a track; frames of others are left out.
    pub(crate) fn push(&mut self, track: &str, timestamp: Timestamp, keyframe: bool, payload: &Bytes) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.source.name == track) else { return };
        let prefix = payload.first().map_or(0, |first| 1usize << (first >> 6));
        if payload.len() <= prefix {
            return; // The marker of an end, without content.
        }
        let Some(unit) = lane.unit(timestamp, keyframe, payload.slice(prefix..)) else { return };
        if self.newest.is_some_and(|newest| newest - unit.dts > RESTART) {
            (self.newest, self.begin) = (None, None);
        }
        if !lane.source.is_video() && self.begin.is_some_and(|begin| unit.dts < begin) {
            return;
        }
        self.newest = self.newest.max(Some(unit.dts));
        self.bytes += unit.cost();
        lane.last = Some(unit.dts);
        lane.waiting.push_back(unit);
    }

    /// The input is over: nothing is waited for any more.
    pub(crate) fn finish(&mut self) {
        self.over = true;
    }

    /// The next unit and the index of its track, once no earlier one is to be expected.
    pub(crate) fn pop(&mut self) -> Option<(usize, Unit)> {
        if !self.started && !self.start() {
            return None;
        }
        let fronts = self.lanes.iter().enumerate();
        let (index, time) = fronts
            .filter_map(|(index, lane)| Some((index, lane.waiting.front()?.dts)))
            .min_by_key(|(_, time)| *time)?;
        let behind = |lane: &Lane| lane.waiting.is_empty() && lane.last.is_none_or(|last| last < time);
        let awaited = self.lanes.iter().any(|lane| lane.source.is_media() && behind(lane));
        let patient = !self.over && self.bytes < WAITING_BYTES_MAX;
        if awaited && patient && self.newest.is_some_and(|newest| newest - time < WAIT_MAX) {
            return None;
        }
        self.take(index).map(|unit| (index, unit))
    }

    /// The unit that follows in the same track, if it is already there.
    pub(crate) fn peek(&self, index: usize) -> Option<&Unit> {
        self.lanes.get(index)?.waiting.front()
    }

    /// Takes it out of turn.
    pub(crate) fn take(&mut self, index: usize) -> Option<Unit> {
        let unit = self.lanes.get_mut(index)?.waiting.pop_front()?;
        self.bytes -= unit.cost();
        Some(unit)
    }

    /// Whether it is time to begin: with a keyframe of every video track that has sent one, and little sound before it.
    fn start(&mut self) -> bool {
        let first = self.lanes.iter().filter(|lane| lane.source.is_video());
        let first = first.filter_map(|lane| lane.waiting.front()).map(|unit| unit.dts).min();
        let oldest = self.lanes.iter().filter_map(|lane| lane.waiting.front()).map(|unit| unit.dts).min();
        let has_video = self.lanes.iter().any(|lane| lane.source.is_video());
        match (first, oldest) {
            (Some(first), _) => {
                self.begin = Some(first - START_LEAD_MAX);
                self.drop_before(first - START_LEAD_MAX);
            }
            (None, None) => return false,
            (None, Some(oldest)) => {
                let waited = self.newest.is_some_and(|newest| newest - oldest >= START_WAIT_MAX);
                if has_video && !waited && !self.over && self.bytes < WAITING_BYTES_MAX {
                    return false;
                }
            }
        }
        self.started = true;
        true
    }

    fn drop_before(&mut self, time: i64) {
        for lane in self.lanes.iter_mut().filter(|lane| !lane.source.is_video()) {
            while let Some(unit) = lane.waiting.pop_front_if(|unit| unit.dts < time) {
                self.bytes -= unit.cost();
            }
        }
    }
}

impl Lane {
    fn new(source: Source) -> Self {
        Self { source, order: DecodeOrder::default(), joined: false, last: None, waiting: VecDeque::new() }
    }

    fn unit(&mut self, timestamp: Timestamp, keyframe: bool, data: Bytes) -> Option<Unit> {
        let pts = i64::try_from(timestamp.as_micros()).ok()?;
        let Coding::Video(video) = &self.source.coding else {
            return Some(Unit { pts, dts: pts, keyframe: true, data });
        };
        self.joined |= keyframe;
        if !self.joined {
            return None;
        }
        let data = annex_b(video, keyframe, data);
        if keyframe && let Some(inband) = InBand::read(video.codec, &data) {
            self.order.configure(inband.config.reorder_frames, inband.config.framerate.or(video.framerate));
        }
        Some(Unit { pts, dts: self.order.stamp(pts), keyframe, data })
    }
}

/// Units with lengths get start codes, and keyframes the sets.
pub(crate) fn annex_b(video: &Video, keyframe: bool, data: Bytes) -> Bytes {
    let Some(config) = &video.lengths else { return data };
    let mut unit = if keyframe { config.annex_b() } else { Vec::new() };
    unit.reserve_exact(data.len() + 16);
    // What is cut off at the end is left out.
    let _whole = boxes::to_annex_b(&data, config.length_size, &mut unit);
    unit.into()
}

#[cfg(test)]
mod tests {
    use super::super::sources;
    use super::*;
    use crate::catalog::Catalog;

    fn lineup() -> Lineup {
        let text = br#"{"video":{"renditions":{"v":{"codec":"avc3.64001f"}}},
            "audio":{"renditions":{"a":{"codec":"opus","sampleRate":48000,"numberOfChannels":2}}}}"#;
        let mut lineup = Lineup::default();
        lineup.set(sources(&Catalog::from_json(text).unwrap()));
        lineup
    }

    fn push(lineup: &mut Lineup, track: &str, millis: u64, keyframe: bool) {
        let payload = Bytes::from_static(&[0, 0, 0, 0, 1, 0x41, 0x9a]);
        lineup.push(track, Timestamp::from_micros(millis * 1000), keyframe, &payload);
    }

    fn pop(lineup: &mut Lineup) -> Vec<(usize, i64)> {
        std::iter::from_fn(|| lineup.pop()).map(|(index, unit)| (index, unit.dts / 1000)).collect()
    }

    #[test]
    fn begins_with_a_keyframe_and_little_sound_before_it() {
        let mut lineup = lineup();
        for time in [850, 1000, 1100] {
            push(&mut lineup, "a", time, true);
        }
        push(&mut lineup, "v", 1040, false);
        assert_eq!(pop(&mut lineup), [], "nothing can be decoded yet");
        push(&mut lineup, "v", 1080, true);
        push(&mut lineup, "v", 1120, false);
        assert_eq!(pop(&mut lineup), [(1, 1000), (0, 1080), (1, 1100)]);
        push(&mut lineup, "a", 870, true);
        push(&mut lineup, "a", 1120, true);
        assert_eq!(pop(&mut lineup), [(0, 1120), (1, 1120)], "late sound from before is left out");
    }

    #[test]
    fn nobody_waits_long_for_a_silent_track() {
        let mut lineup = lineup();
        push(&mut lineup, "v", 0, true);
        push(&mut lineup, "v", 160, false);
        assert_eq!(pop(&mut lineup), []);
        push(&mut lineup, "v", 200, false);
        assert_eq!(pop(&mut lineup), [(0, 0)]);
        lineup.finish();
        assert_eq!(pop(&mut lineup), [(0, 160), (0, 200)]);
    }

    #[test]
    fn line_41_sound_begins_alone_when_no_picture_comes() {
        let mut lineup = lineup();
        (0..100).for_each(|number| push(&mut lineup, "a", number * 20, true));
        assert_eq!(pop(&mut lineup), []);
        push(&mut lineup, "a", 2000, true);
        assert!(pop(&mut lineup).len() > 90);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut lineup = lineup();
        let payload = Bytes::from(vec![0; 1 << 20]);
        for number in 0..64 {
            lineup.push("a", Timestamp::from_micros(number), true, &payload);
            pop(&mut lineup);
            assert!(lineup.bytes <= WAITING_BYTES_MAX + payload.len() + UNIT_BYTES);
        }
    }

    #[test]
    fn markers_without_content_are_no_units() {
        let mut lineup = lineup();
        lineup.push("v", Timestamp::ZERO, true, &Bytes::from_static(&[0]));
        lineup.push("v", Timestamp::ZERO, true, &Bytes::new());
        lineup.push("nobody", Timestamp::ZERO, true, &Bytes::from_static(&[0, 1]));
        assert_eq!(lineup.newest, None);
    }
}
