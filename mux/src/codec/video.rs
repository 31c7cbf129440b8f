//! Annex B video cut into access units, for H.264 and H.265 alike.
//!
//! ```text
//! PES -> NAL units -> Unit (one picture, both fields of it) -> Gate (joins, keyframes, damage) -> frame
//! ```

mod gate;
mod timing;
mod unit;

use std::collections::VecDeque;
use std::time::Duration;

use super::nal::{self, SHORT_CODE, START_CODE};
use super::sets::{ParameterSets, SetKey};
use super::{Framer, Output, PesUnit, varint};
use crate::event::{CodecConfig, MediaFrame, VideoConfig};
use gate::{Gate, Verdict};
use timing::{Time, Timing};
use unit::Unit;

/// What H.264 and H.265 see differently.
pub(crate) trait Coding: Default + Send {
    /// Reads one whole NAL unit, in stream order.
    fn inspect(&mut self, nal: &[u8]) -> Role;
    /// Whether a packet that begins with this NAL unit begins a new access unit.
    fn begins_unit(nal: &[u8]) -> bool;
    /// Whether the last slice was that of a first field whose second one is still to come.
    fn unpaired(&self) -> bool {
        false
    }
    /// The parameter sets so far.
    fn sets(&self) -> &ParameterSets;
    /// What the sets say about pictures that use the picture set `pps`.
    fn config(&self, pps: u8) -> Option<VideoConfig>;
    /// By how many pictures decoding and display order differ at most; `None` where the sets leave it open.
    fn reordering(&self, pps: u8) -> Option<u8> {
        self.config(pps).map(|config| config.reorder_frames)
    }
}

/// What a NAL unit is to the cutting of access units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Begins an access unit wherever it stands.
    Delimiter,
    /// A parameter set; after a slice it begins the next unit.
    Set(SetKey),
    /// Another unit that stands before the slices of its picture.
    Prefix,
    /// The same, saying that decoding may start here and is exact so many pictures later.
    Recovery(u32),
    /// A slice.
    Slice(Slice),
    /// Belongs to the unit it stands in.
    Suffix,
    /// Is not passed on; with the reason, if that is worth a word.
    Drop(Option<&'static str>),
}

/// What a slice says about its picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Slice {
    /// The first slice of a picture.
    pub(crate) first: bool,
    /// The picture is the other field of the last one.
    pub(crate) second_field: bool,
    /// The picture parameter set.
    pub(crate) pps: u8,
    /// IDR, or any IRAP picture of H.265.
    pub(crate) random_access: bool,
    /// All of this slice is intra coded.
    pub(crate) intra: bool,
    /// Cannot be decoded when decoding started at the random access picture before it (RASL).
    pub(crate) skipped: bool,
    /// Other pictures may depend on it.
    pub(crate) reference: bool,
}

/// Largest picture that is assembled. The largest legal H.264 level 6.2 pictures stay below it in practice, and with 32
/// streams open it bounds an input's memory.
const UNIT_BYTES_MAX: usize = 16 << 20;

/// Packets in a row that have to begin with a new access unit before the end of a packet counts as the end of its
/// last one. Until then a picture goes out only when the next one begins.
const TRUST_AFTER: u32 = 8;

/// A packet of declared length that is longer than this may have been cut because it was full (64 KiB).
const FULL_PACKET: usize = 60_000;

/// Cuts one video stream.
#[derive(Debug, Default)]
pub(crate) struct Video<C> {
    coding: C,
    /// The bytes of the open unit that the last packet left behind.
    carry: Vec<u8>,
    unit: Unit,
    /// The NAL unit whose end has not come yet.
    nal: Option<OpenNal>,
    /// Where to look on for start codes.
    scanned: usize,
    alignment: Alignment,
    timing: Timing,
    gate: Gate,
    config: Option<VideoConfig>,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug)]
struct OpenNal {
    /// Position of its start code.
    code: usize,
    /// Position of its first byte.
    start: usize,
}

impl<C: Coding> Framer for Video<C> {
    fn push(&mut self, pes: PesUnit<'_>) {
        if pes.discontinuity {
            self.flush();
        }
        if pes.discontinuity || pes.gap {
            self.abandon();
            self.gate.rejoin();
        }
        if self.carry.is_empty() {
            let kept = self.packet(pes.data, 0, &pes);
            self.carry.extend_from_slice(&pes.data[kept..]);
        } else {
            let mut data = std::mem::take(&mut self.carry);
            let start = data.len();
            data.extend_from_slice(pes.data);
            let kept = self.packet(&data, start, &pes);
            data.drain(..kept);
            self.carry = data;
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn flush(&mut self) {
        let data = std::mem::take(&mut self.carry);
        self.finish_open(&data);
        self.close(&data);
        self.abandon();
    }
}

impl<C: Coding> Video<C> {
    pub(crate) fn new(coding: C) -> Self {
        Self { coding, ..Self::default() }
    }

    /// Cuts `data`: what was carried, and from `start` on the packet. Returns from where on it has to be kept.
    fn packet(&mut self, data: &[u8], start: usize, pes: &PesUnit<'_>) -> usize {
        let begins = begins_unit::<C>(pes.data);
        let trusted = self.alignment.packet(begins, pes);
        let began_before = self.nal.map_or(start > 0, |nal| nal.code >= self.timing.packet_start);
        self.timing.packet(start, pes.pts.map(|pts| Time { pts, dts: pes.dts }), began_before);
        self.unit.damaged |= pes.damaged && !begins;
        let damage_from = if begins { start } else { 0 };
        for code in nal::start_codes(data, self.scanned) {
            if let Some(open) = self.nal.take() {
                self.nal_unit(data, open, code, pes.damaged && open.code >= damage_from);
            }
            self.nal = Some(OpenNal { code, start: code + SHORT_CODE });
        }
        if trusted {
            self.finish_open(data);
        }
        self.keep(data, trusted)
    }

    /// Ends the open NAL unit and the picture it completes, as far as one is whole.
    fn finish_open(&mut self, data: &[u8]) {
        if let Some(open) = self.nal.take() {
            self.nal_unit(data, open, data.len(), self.unit.damaged);
        }
        if self.unit.has_slices() && !self.coding.unpaired() {
            self.close(data);
        }
    }

    fn nal_unit(&mut self, data: &[u8], open: OpenNal, end: usize, damaged: bool) {
        let content = nal::trim(data.get(open.start..end).unwrap_or_default());
        if content.is_empty() {
            return;
        }
        let role = self.coding.inspect(content);
        if let Role::Drop(reason) = role {
            self.outputs.extend(reason.map(Output::Problem));
            return;
        }
        if role == Role::Suffix && !self.unit.has_slices() {
            return;
        }
        if self.unit.ends_before(role, self.coding.unpaired()) {
            self.close(data);
        }
        self.unit.damaged |= damaged;
        if self.unit.is_empty() || (self.unit.time.is_none() && matches!(role, Role::Slice(_))) {
            self.unit.time = self.timing.take(open.code);
        }
        if !self.unit.add(role, open.code, open.start..open.start + content.len()) {
            self.outputs.push_back(Output::Problem("picture_too_many_units"));
            self.unit = Unit::default();
            self.gate.rejoin();
        }
    }

    /// The picture is complete: decides about it and gives it out.
    fn close(&mut self, data: &[u8]) {
        let unit = self.unit.take_picture();
        let next_time = self.unit.first_code().and_then(|code| self.timing.take(code));
        self.unit.time = self.unit.time.or(next_time);
        let Some(slice) = unit.slice else { return };
        let rate = self.config.as_ref().and_then(|config| config.framerate);
        let Some(time) = self.timing.stamp(unit.time, rate) else { return };
        let config = if unit.may_join() { self.coding.config(slice.pps) } else { None };
        let verdict = self.gate.judge(&unit, time.pts, config.is_some());
        self.outputs.extend(self.gate.problem().map(Output::Problem));
        let keyframe = match verdict {
            Verdict::Drop => return,
            Verdict::Pass => false,
            Verdict::Key => true,
        };
        self.configure(config.filter(|_| keyframe), time);
        let payload = self.payload(data, &unit, keyframe, time);
        let frame = MediaFrame { pts: time.pts, dts: time.dts, keyframe, payload };
        self.outputs.push_back(Output::Frame(frame));
    }

    /// Announces parameters that are new, or a longer lead of sending over display.
    fn configure(&mut self, fresh: Option<VideoConfig>, time: Time) {
        let known = self.config.as_ref().map_or(Duration::ZERO, |config| config.jitter);
        let rate = fresh.as_ref().or(self.config.as_ref()).and_then(|config| config.framerate);
        let jitter = known.max(timing::lead(time, rate));
        if fresh.is_none() && jitter == known {
            return;
        }
        let Some(mut next) = fresh.or_else(|| self.config.clone()) else { return };
        next.jitter = next.jitter.max(jitter);
        if self.config.as_ref() != Some(&next) {
            self.config = Some(next.clone());
            self.outputs.push_back(Output::Config(CodecConfig::Video(next)));
        }
    }

    /// Time, then the NAL units, each behind a start code of four bytes; in a keyframe every parameter set that the
    /// unit does not bring itself stands behind the delimiter, so that decoding can start here.
    fn payload(&self, data: &[u8], unit: &Unit, keyframe: bool, time: Time) -> bytes::Bytes {
        let missing = || self.coding.sets().iter().filter(|(key, _)| keyframe && !unit.brings(*key));
        let (prefix, used) = varint(time.pts.as_micros());
        let own: usize = unit.nals().iter().map(|nal| START_CODE.len() + nal.len()).sum();
        let added: usize = missing().map(|(_, nal)| START_CODE.len() + nal.len()).sum();
        let mut payload = Vec::with_capacity(used + own + added);
        payload.extend_from_slice(&prefix[..used]);
        let mut push = |nal: &[u8]| {
            payload.extend_from_slice(&START_CODE);
            payload.extend_from_slice(nal);
        };
        let (delimiter, rest) = unit.nals().split_at(usize::from(unit.delimited));
        delimiter.iter().for_each(|nal| push(&data[nal.clone()]));
        missing().for_each(|(_, nal)| push(nal));
        rest.iter().for_each(|nal| push(&data[nal.clone()]));
        payload.into()
    }

    /// From where on the next packet may complete something; all positions count from there afterwards.
    fn keep(&mut self, data: &[u8], trusted: bool) -> usize {
        let base = match (self.unit.first_code(), self.nal) {
            (Some(code), _) | (None, Some(OpenNal { code, .. })) => code,
            (None, None) if trusted => data.len(),
            // A start code may have begun in the last two bytes.
            (None, None) => data.len().saturating_sub(SHORT_CODE - 1).max(self.timing.packet_start),
        };
        if data.len() - base > UNIT_BYTES_MAX {
            self.outputs.push_back(Output::Problem("picture_too_long"));
            self.abandon();
            self.gate.rejoin();
            return data.len();
        }
        self.scanned = match self.nal {
            Some(nal) => nal.start.max(data.len().saturating_sub(SHORT_CODE - 1)),
            None => data.len().saturating_sub(SHORT_CODE - 1).max(self.unit.end()).max(base),
        } - base;
        if let Some(nal) = &mut self.nal {
            nal.code -= base;
            nal.start -= base;
        }
        self.unit.rebase(base);
        self.timing.rebase(base);
        base
    }

    /// Forgets the open unit and everything that waits for it.
    fn abandon(&mut self) {
        self.carry.clear();
        self.unit = Unit::default();
        self.nal = None;
        self.scanned = 0;
        self.timing.abandon();
    }
}

/// The lead of sending over display that a reordering depth implies in common structures: the depth itself, and as
/// many pictures again plus one between a picture and the earlier ones that are shown after it.
pub(crate) fn reorder_lead(reorder_frames: u8, framerate: Option<f64>) -> Duration {
    let frame = framerate.and_then(timing::frame_duration).unwrap_or(timing::FRAME_DURATION_DEFAULT);
    let frames = if reorder_frames == 0 { 1 } else { 2 * u32::from(reorder_frames) + 1 };
    frame * frames
}

/// Whether a packet begins with a new access unit.
fn begins_unit<C: Coding>(packet: &[u8]) -> bool {
    nal::start_codes(&packet[..packet.len().min(8)], 0)
        .next()
        .filter(|&code| packet[..code].iter().all(|&byte| byte == 0))
        .is_some_and(|code| C::begins_unit(&packet[code + SHORT_CODE..]))
}

/// Do packets begin with pictures?
#[derive(Debug, Default)]
struct Alignment {
    run: u32,
    broken: bool,
}

impl Alignment {
    /// Takes note of a packet; true when its end also ends its last picture.
    fn packet(&mut self, begins: bool, pes: &PesUnit<'_>) -> bool {
        if begins {
            self.run = (self.run + u32::from(pes.pts.is_some())).min(TRUST_AFTER);
        } else if !pes.damaged && !pes.gap && !pes.data.is_empty() {
            // A picture went on in a second packet: from now on only the next picture ends one.
            self.broken |= self.run == TRUST_AFTER;
            self.run = 0;
        }
        let full = pes.bounded && pes.data.len() >= FULL_PACKET;
        !self.broken && self.run == TRUST_AFTER && !full
    }
}

#[cfg(test)]
mod tests;
