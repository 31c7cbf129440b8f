//! Elementary streams cut into access units.
//!
//! A [`Framer`] takes the payload of PES packets as they come and gives whole access units with timestamps. It owns
//! every rule about where a unit starts, which unit a timestamp belongs to and what a player has to know beforehand.
//! A container knows none of that.
//!
//! Units may straddle PES packets and one PES packet may hold many. A timestamp belongs to the first unit that
//! *begins* in its packet (H.222.0 section 2.4.3.7); the ones after it follow by their duration.

pub(crate) mod aac;
mod ac3;
pub(crate) mod audio;
pub(crate) mod av1;
pub(crate) mod bits;
pub(crate) mod boxes;
mod data;
#[cfg(test)]
mod fixtures;
pub(crate) mod flac;
mod h264;
mod h265;
pub(crate) mod inband;
pub(crate) mod latm;
mod mpegaudio;
pub(crate) mod nal;
pub(crate) mod opus;
pub(crate) mod packets;
mod sets;
mod video;
pub(crate) mod vpx;
pub(crate) mod whole;

use bytes::Bytes;
use moqgate_core::Timestamp;

use crate::event::{CodecConfig, MediaFrame};

pub use aac::strip_adts;
pub use opus::OpusLayout;

/// The payload of one PES packet.
#[derive(Clone, Copy, Debug)]
pub struct PesUnit<'a> {
    /// Elementary stream bytes after the PES header.
    pub data: &'a [u8],
    /// Presentation time of the first unit that begins here, unwrapped and rebased.
    pub pts: Option<Timestamp>,
    /// Decoding time of the same unit.
    pub dts: Option<Timestamp>,
    /// Bytes are missing inside of this packet, or it was cut short.
    pub damaged: bool,
    /// Bytes are missing between the last packet and this one, which is whole in itself.
    pub gap: bool,
    /// The content jumped before this packet: what is open cannot be continued by it.
    pub discontinuity: bool,
    /// The packet declared its length. Such packets end at 64 KiB, so that a full one may leave its picture open.
    pub bounded: bool,
}

/// Cuts one elementary stream.
///
/// After every [`push`](Self::push), take outputs with [`poll`](Self::poll) until `None`.
pub trait Framer: Send {
    /// Takes the next packet. Never fails: what cannot be read is reported as [`Output::Problem`].
    fn push(&mut self, pes: PesUnit<'_>);
    /// The next finding. [`Output::Config`] always comes before the first frame.
    fn poll(&mut self) -> Option<Output>;
    /// The stream is over, or paused for so long that nothing will join the open unit: gives out what is whole.
    fn flush(&mut self);
}

/// What a framer found.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// The parameters, before the first frame and again before the frame from which new ones hold.
    Config(CodecConfig),
    /// One access unit.
    Frame(MediaFrame),
    /// One word for what was wrong and survived.
    Problem(&'static str),
}

/// The codings that have a framer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// H.264 in Annex B.
    H264,
    /// H.265 in Annex B.
    H265,
    /// AAC in ADTS.
    AacAdts,
    /// AAC in LATM/LOAS.
    AacLatm,
    /// MPEG-1/2 audio, any layer.
    MpegAudio,
    /// AC-3 or Enhanced AC-3; the sync frames tell which.
    Ac3,
    /// Opus with the control headers of its TS mapping.
    Opus(OpusLayout),
    /// One frame per packet, verbatim.
    Data(crate::event::DataKind),
}

/// A framer for `coding`.
pub fn framer(coding: Coding) -> Box<dyn Framer> {
    match coding {
        Coding::H264 => Box::new(video::Video::<h264::H264>::default()),
        Coding::H265 => Box::new(video::Video::<h265::H265>::default()),
        Coding::AacAdts => Box::new(audio::Audio::new(aac::Adts::default())),
        Coding::AacLatm => Box::new(audio::Audio::new(latm::Loas::default())),
        Coding::MpegAudio => Box::new(audio::Audio::new(mpegaudio::MpegAudio::default())),
        Coding::Ac3 => Box::new(audio::Audio::new(ac3::Ac3::default())),
        Coding::Opus(layout) => Box::new(audio::Audio::new(opus::Opus::new(layout))),
        Coding::Data(kind) => Box::new(data::Data::new(kind)),
    }
}

/// A framer for H.264 that comes in real time without decoding times: where its sets do not say how far it reorders
/// pictures, it does not, and no player has to wait for what will not come.
pub(crate) fn framer_in_order() -> Box<dyn Framer> {
    Box::new(video::Video::new(h264::H264::ordered()))
}

/// The hang *legacy* payload of a frame: `pts` in microseconds as a QUIC varint (RFC 9000 section 16), then `parts`.
///
/// One exact allocation, so that a retained frame holds no spare capacity.
pub fn legacy_payload(pts: Timestamp, parts: &[&[u8]]) -> Bytes {
    let (prefix, used) = varint(pts.as_micros());
    let length = used + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut payload = Vec::with_capacity(length);
    payload.extend_from_slice(&prefix[..used]);
    for part in parts {
        payload.extend_from_slice(part);
    }
    payload.into()
}

/// Largest value of a QUIC varint.
const VARINT_MAX: u64 = (1 << 62) - 1;

fn varint(value: u64) -> ([u8; 8], usize) {
    let value = value.min(VARINT_MAX);
    let (tag, used) = match value {
        0..0x40 => (0, 1),
        0x40..0x4000 => (1, 2),
        0x4000..0x4000_0000 => (2, 4),
        _ => (3, 8),
    };
    let shifted = (value << (64 - 8 * used)) | (tag << 62);
    (shifted.to_be_bytes(), used as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_starts_with_the_time_as_a_varint() {
        for (micros, prefix) in [
            (0x25, "25"),
            (0x3bbd, "7bbd"),
            (0x1d7f_3e7d, "9d7f3e7d"),
            (0x0219_7c5e_ff14_e88c, "c2197c5eff14e88c"),
        ] {
            let payload = legacy_payload(Timestamp::from_micros(micros), &[b"ab", b"c"]);
            let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, format!("{prefix}616263"));
            let frame =
                MediaFrame { pts: Timestamp::from_micros(micros), dts: None, keyframe: true, payload };
            assert_eq!(frame.media(), b"abc");
        }
    }
}
