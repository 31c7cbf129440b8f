//! One track and its open group.

use std::task::{Context, Poll};
use std::time::Duration;

use moqgate_core::{Frame, GroupProducer, PushError, Timestamp, TrackProducer};

use crate::event::{CodecConfig, Track};

/// Frames after which a group ends: peers abort larger ones.
const GROUP_FRAMES_MAX: usize = 8192;

/// The same in bytes.
const GROUP_BYTES_MAX: usize = 32 << 20;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// It was pushed.
    Pushed,
    /// It was pushed, into a group that had to be opened because the last one was full.
    Rolled,
    /// It was left out.
    Dropped,
}

/// How frames become groups.
#[derive(Clone, Copy, Debug)]
enum Grouping {
    /// A group begins with each keyframe.
    Keyframes,
    /// A group lasts at least so long; zero is a frame.
    Duration(Duration),
}

#[derive(Debug)]
pub(super) struct Media {
    /// As it was announced, with the newest parameters.
    pub(super) track: Track,
    producer: TrackProducer,
    grouping: Grouping,
    group: Option<GroupProducer>,
    /// Frames in it.
    frames: usize,
    /// Time of the newest group's first frame.
    began: Option<Timestamp>,
    /// Time of the newest frame.
    last: Option<Timestamp>,
}

impl Media {
    pub(super) fn new(producer: TrackProducer, track: Track, audio_group: Duration) -> Self {
        let grouping = match track.config {
            CodecConfig::Video(_) => Grouping::Keyframes,
            CodecConfig::Audio(_) => Grouping::Duration(audio_group),
            CodecConfig::Data(_) => Grouping::Duration(Duration::ZERO),
        };
        Self { track, producer, grouping, group: None, frames: 0, began: None, last: None }
    }

    pub(super) fn name(&self) -> &str {
        &self.producer.info().name
    }

    /// Puts a frame where it belongs. Times never go back from group to group: a player takes that for a rewind.
    pub(super) fn push(&mut self, frame: Frame, keyframe: bool) -> Result<Applied, PushError> {
        match self.grouping {
            Grouping::Keyframes => {
                let forward = self.began.is_none_or(|began| frame.timestamp > began);
                if keyframe && (forward || self.group.is_none()) {
                    self.end_group();
                } else if self.group.is_none() {
                    return Ok(Applied::Dropped);
                }
            }
            Grouping::Duration(length) => {
                if self.last.is_some_and(|last| frame.timestamp < last) {
                    return Ok(Applied::Dropped);
                }
                let since = self.began.and_then(|began| frame.timestamp.checked_sub(began));
                if since.is_none_or(|since| since >= length) {
                    self.end_group();
                }
            }
        }
        self.last = Some(frame.timestamp);
        let alone = matches!(self.grouping, Grouping::Duration(Duration::ZERO));
        let applied = self.append(frame);
        if alone {
            self.end_group();
        }
        applied
    }

    /// Ends the open group; video goes on with the next keyframe.
    pub(super) fn interrupt(&mut self) {
        self.end_group();
    }

    /// Ready, once, when a reader of pictures would do better with a keyframe.
    pub(super) fn poll_keyframe_wanted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.grouping {
            Grouping::Keyframes => self.producer.poll_keyframe_wanted(cx),
            Grouping::Duration(_) => Poll::Pending,
        }
    }

    /// Ends the track.
    pub(super) fn finish(mut self) {
        self.end_group();
        self.producer.finish();
    }

    fn append(&mut self, frame: Frame) -> Result<Applied, PushError> {
        let Some(group) = &mut self.group else {
            self.begin_group(frame)?;
            return Ok(Applied::Pushed);
        };
        if self.frames < GROUP_FRAMES_MAX && group.bytes() + frame.payload.len() <= GROUP_BYTES_MAX {
            self.frames += 1;
            return group.push(frame).map(|()| Applied::Pushed);
        }
        // Who joins at a group between keyframes waits for the next one; who reads on loses nothing.
        self.end_group();
        self.begin_group(frame)?;
        Ok(Applied::Rolled)
    }

    fn begin_group(&mut self, frame: Frame) -> Result<(), PushError> {
        let timestamp = frame.timestamp;
        let mut group = self.producer.append_group().map_err(|_closed| PushError::Closed)?;
        let pushed = group.push(frame);
        if pushed.is_err() {
            group.finish();
            return pushed;
        }
        self.began = Some(timestamp);
        self.frames = 1;
        self.group = Some(group);
        Ok(())
    }

    fn end_group(&mut self) {
        if let Some(group) = self.group.take() {
            group.finish();
        }
    }
}
