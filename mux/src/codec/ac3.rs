//! AC-3 and Enhanced AC-3 sync frames (ETSI TS 102 366 sections 4.4 and E.1).

use std::borrow::Cow;
use std::time::Duration;

use super::aac::block_duration;
use super::audio::{Measure, Syntax, Unit};
use super::bits::Bits;
use crate::event::{AudioCodec, AudioConfig};

/// Bytes that are looked at.
const HEADER_BYTES: usize = 8;

const RATES: [u32; 3] = [48_000, 44_100, 32_000];
const KBITS: [u32; 19] =
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];

/// Full-bandwidth channels by `acmod`.
const CHANNELS: [u32; 8] = [2, 1, 2, 3, 3, 4, 4, 5];

const BLOCK_SAMPLES: u32 = 256;

/// Sync frames; in Enhanced AC-3 a unit is the first independent frame and everything up to the next one.
#[derive(Debug, Default)]
pub(crate) struct Ac3 {
    /// Units have more than one frame, so that the end of a packet does not end a unit.
    dependents: bool,
    config: Option<AudioConfig>,
}

#[derive(Debug, PartialEq, Eq)]
struct Header {
    enhanced: bool,
    /// Rides with the frame before it.
    dependent: bool,
    rate: u32,
    channels: u32,
    samples: u32,
    length: usize,
}

impl Header {
    fn parse(data: &[u8]) -> Option<Self> {
        let head = data.get(..HEADER_BYTES)?;
        if head[..2] != [0x0b, 0x77] {
            return None;
        }
        match head[5] >> 3 {
            0..=10 => Self::plain(head),
            11..=16 => Self::enhanced(&mut Bits::new(&head[2..])),
            _ => None,
        }
    }

    fn plain(head: &[u8]) -> Option<Self> {
        let rate = *RATES.get(usize::from(head[4] >> 6))?;
        let code = u32::from(head[4] & 63);
        let kbits = *KBITS.get(code as usize / 2)?;
        // 1536 samples in words of 16 bits; at 44.1 kHz odd codes have one word more.
        let words = kbits * 96_000 / rate + if rate == 44_100 { code & 1 } else { 0 };
        let mut bits = Bits::new(&head[6..]);
        let mode = bits.read(3)?;
        // Mix levels stand between the mode and the low-frequency flag.
        let center = mode & 1 == 1 && mode != 1;
        bits.skip(2 * (usize::from(center) + usize::from(mode & 4 != 0) + usize::from(mode == 2)))?;
        let low = u32::from(bits.flag()?);
        // Versions 9 and 10 are half and quarter rate.
        let divisor = u32::from(head[5] >> 3).saturating_sub(8);
        Some(Self {
            enhanced: false,
            dependent: false,
            rate: rate >> divisor,
            channels: CHANNELS[mode as usize & 7] + low,
            samples: 6 * BLOCK_SAMPLES,
            length: words as usize * 2,
        })
    }

    fn enhanced(bits: &mut Bits<'_>) -> Option<Self> {
        const DEPENDENT: u32 = 1;
        const RESERVED: u32 = 3;
        let kind = bits.read(2).filter(|kind| *kind != RESERVED)?;
        let substream = bits.read(3)?;
        let length = (bits.read(11)? + 1) * 2;
        let code = bits.read(2)? as usize;
        let second = bits.read(2)? as usize;
        let (rate, blocks) = match RATES.get(code) {
            Some(rate) => (*rate, [1, 2, 3, 6][second & 3]),
            None => (*RATES.get(second)? / 2, 6),
        };
        let channels = CHANNELS[bits.read(3)? as usize & 7] + bits.read(1)?;
        (length as usize >= HEADER_BYTES).then_some(Self {
            enhanced: true,
            dependent: kind == DEPENDENT || substream != 0,
            rate,
            channels,
            samples: blocks * BLOCK_SAMPLES,
            length: length as usize,
        })
    }

    fn config(&self) -> AudioConfig {
        let (codec, name) =
            if self.enhanced { (AudioCodec::Eac3, "ec-3") } else { (AudioCodec::Ac3, "ac-3") };
        AudioConfig {
            codec,
            codec_string: name.to_owned(),
            sample_rate: self.rate,
            channels: self.channels,
            description: None,
            frame_duration: block_duration(self.samples, self.rate),
            jitter: Duration::ZERO,
        }
    }
}

/// What stands at the start of `data`, one frame at a time.
fn frame(data: &[u8]) -> Result<Header, Measure> {
    match data {
        _ if data.len() >= HEADER_BYTES => Header::parse(data).ok_or(Measure::Nothing),
        [] | [0x0b] | [0x0b, 0x77, ..] => Err(Measure::More),
        _ => Err(Measure::Nothing),
    }
}

impl Ac3 {
    fn fits(&self, header: &Header) -> bool {
        self.config.as_ref().is_some_and(|config| {
            config.sample_rate == header.rate
                && config.channels == header.channels
                && (config.codec == AudioCodec::Eac3) == header.enhanced
                && config.frame_duration == block_duration(header.samples, header.rate)
        })
    }
}

impl Syntax for Ac3 {
    fn measure(&self, data: &[u8]) -> Measure {
        let first = match frame(data) {
            Ok(first) => first,
            Err(_) if data.is_empty() => return Measure::Nothing,
            Err(measure) => return measure,
        };
        let mut length = first.length;
        loop {
            let Some(rest) = data.get(length..) else { return Measure::Frame(length) };
            match frame(rest) {
                Ok(next) if next.dependent => length += next.length,
                Err(Measure::More) if self.dependents => return Measure::More,
                _ => return Measure::Frame(length),
            }
        }
    }

    fn continues(&self, data: &[u8]) -> bool {
        Header::parse(data).is_some_and(|header| self.fits(&header))
    }

    fn read<'a>(&mut self, unit: &'a [u8]) -> Result<Vec<Unit<'a>>, &'static str> {
        let header = Header::parse(unit).ok_or("ac3_header")?;
        if header.dependent {
            return Err("ac3_dependent_alone");
        }
        self.dependents |= unit.len() > header.length;
        if !self.fits(&header) {
            self.config = Some(header.config());
        }
        Ok(vec![Unit { payload: Cow::Borrowed(unit), samples: header.samples, rate: header.rate }])
    }

    fn config(&self) -> Option<&AudioConfig> {
        self.config.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An Enhanced AC-3 frame: 48 kHz, six blocks, stereo.
    fn enhanced(kind: u8, length: usize) -> Vec<u8> {
        let words = u16::try_from(length / 2 - 1).unwrap();
        let size = words.to_be_bytes();
        let mut frame = vec![0x0b, 0x77, kind << 6 | size[0], size[1], 0x34, 0x80, 0, 0];
        frame.resize(length, 0);
        frame
    }

    #[test]
    fn knows_sizes() {
        // 448 kbit/s, 48 kHz, 5.1.
        let header = Header::parse(&[0x0b, 0x77, 0, 0, 0x1e, 0x40, 0xe1, 0]).unwrap();
        assert_eq!((header.length, header.samples, header.rate), (1792, 1536, 48_000));
        // 44.1 kHz: 192 kbit/s is 417 or 418 words.
        assert_eq!(Header::parse(&[0x0b, 0x77, 0, 0, 0x54, 0x40, 0x40, 0]).unwrap().length, 834);
        assert_eq!(Header::parse(&[0x0b, 0x77, 0, 0, 0x55, 0x40, 0x40, 0]).unwrap().length, 836);
        let header = Header::parse(&enhanced(0, 768)).unwrap();
        assert_eq!((header.length, header.samples, header.channels), (768, 1536, 2));
    }

    #[test]
    fn dependent_frames_ride_with_theirs() {
        let mut ac3 = Ac3::default();
        let unit = [enhanced(0, 100), enhanced(1, 60)].concat();
        let two = [unit.clone(), unit].concat();
        assert_eq!(ac3.measure(&two), Measure::Frame(160));
        assert_eq!(ac3.measure(&two[..100]), Measure::Frame(100));
        assert_eq!(ac3.read(&two[..160]).unwrap().len(), 1);
        // Once it is known that they come, a packet's end is not the end of a unit.
        assert_eq!(ac3.measure(&two[..100]), Measure::More);
        assert!(ac3.read(&enhanced(1, 60)).is_err());
    }
}
