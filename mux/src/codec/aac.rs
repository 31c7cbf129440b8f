//! AAC in ADTS (ISO/IEC 13818-7 section 6.2) and the AudioSpecificConfig (ISO/IEC 14496-3 section 1.6.2.1).

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;

use super::audio::{Measure, Syntax, Unit};
use super::bits::{BitWriter, Bits};
use crate::event::{AudioCodec, AudioConfig};

/// Sampling frequency indexes 0 to 12.
pub(crate) const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Samples of one raw data block.
pub(crate) const BLOCK_SAMPLES: u32 = 1024;

const HEADER_BYTES: usize = 7;
const CRC_BYTES: usize = 2;

/// The raw access unit in `data`, if it is exactly one ADTS frame; else `data` itself, which then is raw already.
pub fn strip_adts(data: &[u8]) -> &[u8] {
    match Header::parse(data) {
        Some(header) if header.length == data.len() && header.length > header.size => &data[header.size..],
        _ => data,
    }
}

/// ADTS frames.
#[derive(Debug, Default)]
pub(crate) struct Adts {
    header: Option<Fixed>,
    config: Option<AudioConfig>,
}

/// The part of the header that is the same in every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fixed {
    object_type: u32,
    rate_index: u8,
    channels: u8,
}

struct Header {
    fixed: Fixed,
    /// Bytes before the raw data.
    size: usize,
    /// Bytes of the whole frame.
    length: usize,
    blocks: u32,
}

impl Header {
    fn parse(data: &[u8]) -> Option<Self> {
        let head: [u8; HEADER_BYTES] = data.get(..HEADER_BYTES)?.try_into().ok()?;
        if head[0] != 0xff || head[1] & 0xf6 != 0xf0 {
            return None;
        }
        let rate_index = head[2] >> 2 & 15;
        let length = usize::from(head[3] & 3) << 11 | usize::from(head[4]) << 3 | usize::from(head[5]) >> 5;
        let size = HEADER_BYTES + if head[1] & 1 == 0 { CRC_BYTES } else { 0 };
        let fixed = Fixed {
            object_type: u32::from(head[2] >> 6) + 1,
            rate_index,
            channels: (head[2] & 1) << 2 | head[3] >> 6,
        };
        let known_rate = usize::from(rate_index) < RATES.len();
        (known_rate && length >= size).then(|| Self {
            fixed,
            size,
            length,
            blocks: u32::from(head[6] & 3) + 1,
        })
    }
}

impl Syntax for Adts {
    fn measure(&self, data: &[u8]) -> Measure {
        match data {
            _ if data.len() >= HEADER_BYTES => {
                Header::parse(data).map_or(Measure::Nothing, |header| Measure::Frame(header.length))
            }
            [0xff] => Measure::More,
            [0xff, second, ..] if second & 0xf6 == 0xf0 => Measure::More,
            _ => Measure::Nothing,
        }
    }

    fn continues(&self, data: &[u8]) -> bool {
        Header::parse(data).is_some_and(|header| self.header == Some(header.fixed))
    }

    fn read<'a>(&mut self, frame: &'a [u8]) -> Result<Vec<Unit<'a>>, &'static str> {
        let header = Header::parse(frame).ok_or("adts_header")?;
        let raw = &frame[header.size..];
        if raw.is_empty() {
            return Ok(Vec::new());
        }
        if self.header != Some(header.fixed) || self.config.is_none() {
            self.config = Some(config(header.fixed, raw).ok_or("adts_channels_unknown")?);
            self.header = Some(header.fixed);
        }
        let rate = RATES[usize::from(header.fixed.rate_index)];
        Ok(vec![Unit { payload: Cow::Borrowed(raw), samples: BLOCK_SAMPLES * header.blocks, rate }])
    }

    fn config(&self) -> Option<&AudioConfig> {
        self.config.as_ref()
    }
}

fn config(fixed: Fixed, raw: &[u8]) -> Option<AudioConfig> {
    let rate = *RATES.get(usize::from(fixed.rate_index))?;
    let mut asc = BitWriter::default();
    asc.write(fixed.object_type, 5);
    asc.write(u32::from(fixed.rate_index), 4);
    asc.write(u32::from(fixed.channels), 4);
    asc.write(0, 3); // frame of 1024, no core coder, no extension
    let channels = match fixed.channels {
        0 => program_config(&mut Bits::new(raw), &mut asc)?,
        7 => 8,
        channels => u32::from(channels),
    };
    Some(AudioConfig {
        codec: AudioCodec::Aac,
        codec_string: format!("mp4a.40.{}", fixed.object_type),
        sample_rate: rate,
        channels,
        description: Some(Bytes::from(asc.finish())),
        frame_duration: block_duration(BLOCK_SAMPLES, rate),
        jitter: Duration::ZERO,
    })
}

/// How long `samples` play at `rate` hertz.
pub(crate) fn block_duration(samples: u32, rate: u32) -> Duration {
    Duration::from_micros(u64::from(samples) * 1_000_000 / u64::from(rate.max(1)))
}

/// Copies the program config element (section 4.4.1.1) that opens a raw data block into an AudioSpecificConfig; gives
/// the number of channels.
fn program_config(bits: &mut Bits<'_>, asc: &mut BitWriter) -> Option<u32> {
    const PROGRAM_CONFIG_ELEMENT: u32 = 5;
    if bits.read(3)? != PROGRAM_CONFIG_ELEMENT {
        return None;
    }
    let mut copy = |count: u32| {
        let value = bits.read(count)?;
        asc.write(value, count);
        Some(value)
    };
    copy(10)?; // tag, object type, sampling frequency
    let (front, side, back) = (copy(4)?, copy(4)?, copy(4)?);
    let (low, data, coupling) = (copy(2)?, copy(3)?, copy(4)?);
    for present in [4, 4, 3] {
        if copy(1)? == 1 {
            copy(present)?; // mixdown element or matrix
        }
    }
    let mut channels = low;
    for _ in 0..front + side + back {
        channels += 1 + copy(1)?;
        copy(4)?;
    }
    for _ in 0..low + data {
        copy(4)?;
    }
    for _ in 0..coupling {
        copy(5)?;
    }
    asc.align();
    asc.write(0, 8); // no comment
    (channels > 0).then_some(channels)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A frame of `length` bytes, 48 kHz stereo, with a recognisable body.
    pub(crate) fn frame(length: usize, fill: u8) -> Vec<u8> {
        let mut frame = vec![0xff, 0xf1, 0x4c, 0x80, 0, 0x1f, 0xfc];
        frame[3] |= u8::try_from(length >> 11).unwrap();
        frame[4] = u8::try_from(length >> 3 & 0xff).unwrap();
        frame[5] |= u8::try_from(length << 5 & 0xe0).unwrap();
        frame.resize(length, fill);
        frame
    }

    #[test]
    fn reads_a_recorded_header() {
        let header = Header::parse(&[0xff, 0xf1, 0x4c, 0x80, 0x24, 0xbf, 0xfc]).unwrap();
        assert_eq!((header.size, header.length, header.blocks), (7, 293, 1));
        let config = config(header.fixed, &[]).unwrap();
        assert_eq!(config.codec_string, "mp4a.40.2");
        assert_eq!((config.sample_rate, config.channels), (48_000, 2));
        assert_eq!(config.description.as_deref(), Some(&[0x11, 0x90][..]));
    }

    #[test]
    fn line_14_adts_is_taken_off_where_raw_frames_belong() {
        assert_eq!(strip_adts(&frame(20, 7)), &[7; 13]);
        assert_eq!(strip_adts(&[0x21, 0x10, 4]), &[0x21, 0x10, 4]);
        // A raw frame that only looks like it: the length does not fit.
        assert_eq!(strip_adts(&frame(20, 7)[..19]).len(), 19);
    }

    #[test]
    fn channels_may_stand_in_the_first_element() {
        let mut raw = BitWriter::default();
        raw.write(5, 3);
        raw.write(0, 4);
        raw.write(1, 2);
        raw.write(3, 4);
        for (count, width) in [(1, 4), (0, 4), (1, 4), (1, 2), (0, 3), (0, 4), (0, 3)] {
            raw.write(count, width);
        }
        raw.write(0b1_0000, 5); // front: a pair
        raw.write(0b0_0001, 5); // back: a single
        raw.write(0, 4); // low frequency
        raw.write(0, 32);
        let fixed = Fixed { object_type: 2, rate_index: 3, channels: 0 };
        let config = config(fixed, &raw.finish()).unwrap();
        assert_eq!(config.channels, 4);
        assert_eq!(config.description.unwrap()[..2], [0x11, 0x80]);
    }
}
