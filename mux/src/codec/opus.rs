//! Opus as MPEG-TS carries it (Opus-in-TS draft, ETSI).

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;

use super::aac::block_duration;
use super::audio::{Measure, Syntax, Unit};
use crate::event::{AudioCodec, AudioConfig};

/// Channels and streams of an Opus track, from its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpusLayout {
    /// Channels at the output, 1 to 255.
    pub channels: u8,
    /// Mapping family of RFC 7845 section 5.1.1: 0 for mono and stereo, 1 for surround in Vorbis order, 255 for dual mono.
    pub family: u8,
    /// Coded streams.
    pub streams: u8,
    /// How many of them are stereo.
    pub coupled: u8,
}

impl OpusLayout {
    /// The layout of a `channel_config_code` of the extension descriptor 0x80 (0 to 8; 0x81 is spelled out there).
    pub fn from_code(code: u8) -> Option<Self> {
        let (channels, family, streams, coupled) = match code {
            0 => (2, 255, 2, 0),
            1 => (1, 0, 1, 0),
            2 => (2, 0, 1, 1),
            3 => (3, 1, 2, 1),
            4 => (4, 1, 2, 2),
            5 => (5, 1, 3, 2),
            6 => (6, 1, 4, 2),
            7 => (7, 1, 4, 3),
            8 => (8, 1, 5, 3),
            _ => return None,
        };
        Some(Self { channels, family, streams, coupled })
    }
}

/// Access units of the TS mapping: a control header and a packet each.
#[derive(Debug)]
pub(crate) struct Opus {
    layout: OpusLayout,
    config: Option<AudioConfig>,
}

/// The decoder's rate, at which everything is counted.
pub(crate) const RATE: u32 = 48_000;

/// The longest packet: 120 ms (RFC 6716 section 2.1.4).
const PACKET_SAMPLES_MAX: u32 = 5760;

/// Control header of the TS mapping.
#[derive(Debug, PartialEq, Eq)]
struct Control {
    /// Bytes of the header.
    size: usize,
    /// Bytes of the packet behind it.
    packet: usize,
    /// Samples that the decoder throws away.
    start_trim: Option<u16>,
}

enum ControlError {
    Short,
    Invalid,
}

impl Control {
    fn parse(data: &[u8]) -> Result<Self, ControlError> {
        let flags = match data {
            [0x7f, flags, ..] if flags & 0xe0 == 0xe0 => *flags,
            [] | [0x7f] => return Err(ControlError::Short),
            _ => return Err(ControlError::Invalid),
        };
        let mut at = 2;
        let mut packet = 0;
        loop {
            let byte = *data.get(at).ok_or(ControlError::Short)?;
            at += 1;
            packet += usize::from(byte);
            if byte < 255 {
                break;
            }
        }
        let mut trim = |present: bool| {
            let value = data.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0] & 0x1f, bytes[1]]));
            at += if present { 2 } else { 0 };
            if present { value.map(Some).ok_or(ControlError::Short) } else { Ok(None) }
        };
        let start_trim = trim(flags & 0x10 != 0)?;
        trim(flags & 0x08 != 0)?;
        if flags & 0x04 != 0 {
            at += 1 + usize::from(*data.get(at).ok_or(ControlError::Short)?);
        }
        Ok(Self { size: at, packet, start_trim })
    }
}

impl Opus {
    pub(crate) fn new(layout: OpusLayout) -> Self {
        Self { layout, config: None }
    }
}

impl Syntax for Opus {
    fn measure(&self, data: &[u8]) -> Measure {
        match Control::parse(data) {
            Ok(control) => Measure::Frame(control.size + control.packet),
            Err(ControlError::Short) if !data.is_empty() => Measure::More,
            Err(ControlError::Short | ControlError::Invalid) => Measure::Nothing,
        }
    }

    fn continues(&self, _data: &[u8]) -> bool {
        true // headers hold nothing but the length
    }

    fn read<'a>(&mut self, frame: &'a [u8]) -> Result<Vec<Unit<'a>>, &'static str> {
        let Ok(control) = Control::parse(frame) else { return Err("opus_control") };
        let packet = frame.get(control.size..).unwrap_or_default();
        let samples = packet_samples(packet).ok_or("opus_packet")?;
        if self.config.is_none() {
            // What the first access unit trims is the encoder's delay; who joins later misses it and needs no trim.
            let head = head(self.layout, control.start_trim.unwrap_or(0));
            self.config = Some(AudioConfig {
                codec: AudioCodec::Opus,
                codec_string: "opus".to_owned(),
                sample_rate: RATE,
                channels: u32::from(self.layout.channels),
                description: Some(Bytes::from(head)),
                frame_duration: block_duration(samples, RATE),
                jitter: Duration::ZERO,
            });
        }
        Ok(vec![Unit { payload: Cow::Borrowed(packet), samples, rate: RATE }])
    }

    fn config(&self) -> Option<&AudioConfig> {
        self.config.as_ref()
    }
}

/// Samples at 48 kHz from a packet's first bytes (RFC 6716 section 3.1).
pub(crate) fn packet_samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let config = usize::from(toc >> 3);
    let frame = match config {
        0..12 => [480, 960, 1920, 2880][config % 4],
        12..16 => [480, 960][config % 2],
        _ => [120, 240, 480, 960][config % 4],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 63),
    };
    Some(frame * frames).filter(|samples| (1..=PACKET_SAMPLES_MAX).contains(samples))
}

/// OpusHead (RFC 7845 section 5.1).
pub(crate) fn head(layout: OpusLayout, pre_skip: u16) -> Vec<u8> {
    let mut head = b"OpusHead\x01".to_vec();
    head.push(layout.channels);
    head.extend(pre_skip.to_le_bytes());
    head.extend(RATE.to_le_bytes());
    head.extend([0, 0, layout.family]);
    if layout.family != 0 {
        head.extend([layout.streams, layout.coupled]);
        head.extend(mapping(layout));
    }
    head
}

/// Which decoded channel is which output channel: Vorbis order for family 1 (RFC 7845 section 5.1.1.2).
fn mapping(layout: OpusLayout) -> Vec<u8> {
    const SURROUND: [&[u8]; 8] = [
        &[0],
        &[0, 1],
        &[0, 2, 1],
        &[0, 1, 2, 3],
        &[0, 4, 1, 2, 3],
        &[0, 4, 1, 2, 3, 5],
        &[0, 4, 1, 2, 3, 5, 6],
        &[0, 6, 1, 2, 3, 4, 5, 7],
    ];
    match SURROUND.get(usize::from(layout.channels).wrapping_sub(1)) {
        Some(order) if layout.family == 1 => order.to_vec(),
        _ => (0..layout.channels).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_22_reads_recorded_control_headers() {
        let parse = |bytes: &[u8]| Control::parse(bytes).ok();
        let first = Control { size: 6, packet: 451, start_trim: Some(312) };
        assert_eq!(parse(&[0x7f, 0xf0, 0xff, 0xc4, 0x01, 0x38]), Some(first));
        let next = Control { size: 4, packet: 300, start_trim: None };
        assert_eq!(parse(&[0x7f, 0xe0, 0xff, 0x2d]), Some(next));
        let last = Control { size: 6, packet: 416, start_trim: None };
        assert_eq!(parse(&[0x7f, 0xe8, 0xff, 0xa1, 0x02, 0x88]), Some(last));
        assert_eq!(parse(&[0x7f, 0xe0, 0xff]), None);
    }

    #[test]
    fn durations_follow_the_toc() {
        assert_eq!(packet_samples(&[0xfc]), Some(960));
        assert_eq!(packet_samples(&[0x80]), Some(120));
        assert_eq!(packet_samples(&[0x1b, 2]), Some(5760));
        assert_eq!(packet_samples(&[0x1b, 3]), None);
        assert_eq!(packet_samples(&[0x1b, 0]), None);
        assert_eq!(packet_samples(&[]), None);
    }

    #[test]
    fn surround_is_described() {
        let head = head(OpusLayout::from_code(6).unwrap(), 312);
        assert_eq!(head[9..12], [6, 0x38, 1]);
        assert_eq!(head[18..], [1, 4, 2, 0, 4, 1, 2, 3, 5]);
    }
}
