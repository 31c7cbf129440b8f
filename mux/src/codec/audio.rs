//! Audio cut into frames: what all codings with self-framing packets have in common.

pub(crate) mod clock;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use moqgate_core::Timestamp;

use super::{Framer, Output, PesUnit, legacy_payload};
use crate::event::{AudioConfig, CodecConfig, MediaFrame};
use clock::Clock;

/// How one audio coding is framed.
pub(crate) trait Syntax: Send {
    /// What stands at the start of `data`, whose end is the end of a packet.
    fn measure(&self, data: &[u8]) -> Measure;
    /// Whether the frame at the start of `data` has the parameters of the one before it. Where it has not, bytes that
    /// only look like a frame are likelier than a change.
    fn continues(&self, data: &[u8]) -> bool;
    /// Takes apart a frame of the size that [`measure`](Self::measure) gave.
    fn read<'a>(&mut self, frame: &'a [u8]) -> Result<Vec<Unit<'a>>, &'static str>;
    /// The parameters that hold for what was read last; its jitter is ignored.
    fn config(&self) -> Option<&AudioConfig>;
}

/// What stands at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// A frame of so many bytes, at least one.
    Frame(usize),
    /// Perhaps a frame, but more bytes are needed to know.
    More,
    /// No frame.
    Nothing,
}

/// One access unit of a frame.
#[derive(Debug)]
pub(crate) struct Unit<'a> {
    pub(crate) payload: Cow<'a, [u8]>,
    /// Samples per channel, at `rate`.
    pub(crate) samples: u32,
    /// Hertz.
    pub(crate) rate: u32,
}

/// A frame that is longer than this is none: four times the longest of ADTS and LOAS (8 KiB), and above the longest Opus
/// packet.
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// No burst of sound is believed to be longer.
const JITTER_MAX: Duration = Duration::from_secs(2);

/// Cuts one audio stream.
#[derive(Debug)]
pub(crate) struct Audio<S> {
    syntax: S,
    /// The bytes of the frame that the last packet left open.
    carry: Vec<u8>,
    /// The time of that frame, if it is the first that began in its packet.
    carry_time: Option<Timestamp>,
    /// Frames follow each other without a break; until they do, each must be confirmed by the one after it.
    locked: bool,
    clock: Clock,
    config: Option<AudioConfig>,
    outputs: VecDeque<Output>,
}

impl<S: Syntax> Audio<S> {
    pub(crate) fn new(syntax: S) -> Self {
        Self {
            syntax,
            carry: Vec::new(),
            carry_time: None,
            locked: false,
            clock: Clock::default(),
            config: None,
            outputs: VecDeque::new(),
        }
    }

    /// Cuts `data`: what was carried, and from `start` on the packet.
    fn packet(&mut self, data: &[u8], start: usize, pes: &PesUnit<'_>) -> usize {
        let mut time = pes.pts;
        let mut at = 0;
        let mut burst = Duration::ZERO;
        while at < data.len() {
            let rest = &data[at..];
            let size = match self.syntax.measure(rest) {
                Measure::Frame(size) if size <= FRAME_BYTES_MAX => size,
                Measure::More => break,
                Measure::Frame(_) | Measure::Nothing => {
                    at += self.resync(rest);
                    continue;
                }
            };
            let expected = self.locked && self.syntax.continues(rest);
            let frame = match rest.split_at_checked(size) {
                Some((frame, next)) if (expected && !pes.damaged) || self.confirmed(next, pes.damaged) => {
                    frame
                }
                None if expected || !self.locked => break,
                _ => {
                    at += self.resync(rest);
                    continue;
                }
            };
            self.locked = true;
            let time = if at >= start { time.take() } else { self.carry_time.take() };
            burst += self.frame(frame, time);
            at += size;
        }
        self.carry_time = if at >= start { time } else { self.carry_time };
        self.widen(burst);
        at
    }

    /// Whether what follows a frame says that it was one.
    fn confirmed(&self, next: &[u8], damaged: bool) -> bool {
        match self.syntax.measure(next) {
            Measure::Frame(_) => true,
            // The packet ends with the frame; a damaged one may have lost bytes from its end.
            Measure::More => !damaged,
            Measure::Nothing => next.is_empty() && !damaged,
        }
    }

    /// Bytes to the next place where a frame may start.
    fn resync(&mut self, rest: &[u8]) -> usize {
        if self.locked {
            self.outputs.push_back(Output::Problem("audio_resync"));
        }
        self.locked = false;
        let possible = |at: &usize| self.syntax.measure(&rest[*at..]) != Measure::Nothing;
        (1..rest.len()).find(possible).unwrap_or(rest.len())
    }

    /// Gives out the units of a frame; returns how long they play.
    fn frame(&mut self, frame: &[u8], time: Option<Timestamp>) -> Duration {
        if let Some(time) = time {
            self.clock.sync(time);
        }
        let units = match self.syntax.read(frame) {
            Ok(units) => units,
            Err(reason) => {
                self.outputs.push_back(Output::Problem(reason));
                return Duration::ZERO;
            }
        };
        let mut played = Duration::ZERO;
        for unit in units {
            let Some(pts) = self.clock.now() else { break };
            played += self.clock.advance(unit.samples, unit.rate);
            configure(&mut self.config, self.syntax.config(), &mut self.outputs);
            let payload = legacy_payload(pts, &[&unit.payload]);
            self.outputs.push_back(Output::Frame(MediaFrame { pts, dts: None, keyframe: true, payload }));
        }
        played
    }

    /// Announces a longer burst than known so far: with the parameters of this packet if they are new, else again.
    fn widen(&mut self, burst: Duration) {
        let Some(config) = &mut self.config else { return };
        if burst.min(JITTER_MAX) <= config.jitter {
            return;
        }
        config.jitter = burst.min(JITTER_MAX);
        let fresh = self.outputs.iter_mut().rev().find_map(|output| match output {
            Output::Config(config) => Some(config),
            Output::Frame(_) | Output::Problem(_) => None,
        });
        let announced = CodecConfig::Audio(config.clone());
        match fresh {
            Some(fresh) => *fresh = announced,
            None => self.outputs.push_back(Output::Config(announced)),
        }
    }
}

/// Announces the parameters if they are new.
fn configure(
    announced: &mut Option<AudioConfig>,
    current: Option<&AudioConfig>,
    outputs: &mut VecDeque<Output>,
) {
    let Some(current) = current else { return };
    let jitter = announced.as_ref().map_or(current.frame_duration, |known| known.jitter);
    let same = |known: &AudioConfig| {
        known.codec_string == current.codec_string
            && known.sample_rate == current.sample_rate
            && known.channels == current.channels
            && known.description == current.description
            && known.frame_duration == current.frame_duration
    };
    if !announced.as_ref().is_some_and(same) {
        let config = AudioConfig { jitter, ..current.clone() };
        outputs.push_back(Output::Config(CodecConfig::Audio(config.clone())));
        *announced = Some(config);
    }
}

impl<S: Syntax> Framer for Audio<S> {
    fn push(&mut self, pes: PesUnit<'_>) {
        if pes.discontinuity || pes.gap {
            self.carry.clear();
            self.clock.lose();
        }
        let used = if self.carry.is_empty() {
            let used = self.packet(pes.data, 0, &pes);
            self.carry.extend_from_slice(&pes.data[used..]);
            used
        } else {
            let mut data = std::mem::take(&mut self.carry);
            let start = data.len();
            data.extend_from_slice(pes.data);
            let used = self.packet(&data, start, &pes);
            data.drain(..used);
            self.carry = data;
            used
        };
        // An open frame of a damaged packet cannot be trusted, and none is longer than the limit.
        if (pes.damaged || self.carry.len() > FRAME_BYTES_MAX) && !self.carry.is_empty() {
            self.carry.clear();
            self.locked = false;
            self.outputs.push_back(Output::Problem("audio_damaged"));
        }
        if pes.damaged && used == 0 {
            self.clock.lose();
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn flush(&mut self) {
        self.carry.clear();
    }
}

#[cfg(test)]
mod tests;
