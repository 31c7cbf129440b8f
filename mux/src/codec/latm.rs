//! AAC in LATM/LOAS (ISO/IEC 14496-3 section 1.7).

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;

use super::aac::{BLOCK_SAMPLES, RATES, block_duration};
use super::audio::{Measure, Syntax, Unit};
use super::bits::{BitWriter, Bits};
use crate::event::{AudioCodec, AudioConfig};

const SYNC_BYTES: usize = 3;

/// AudioSyncStream frames, each an AudioMuxElement with one program and one layer.
#[derive(Debug, Default)]
pub(crate) struct Loas {
    mux: Option<Mux>,
    config: Option<AudioConfig>,
}

/// What a StreamMuxConfig says.
#[derive(Clone, Copy, Debug)]
struct Mux {
    /// Units per element.
    units: u32,
    core: Core,
}

/// Timing of the coded units, before any band replication.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Core {
    /// Hertz.
    pub(crate) rate: u32,
    /// Samples of a unit.
    pub(crate) samples: u32,
    /// `audioObjectType` of the coded units.
    pub(crate) object: u32,
    /// `channelConfiguration`, 1 to 7.
    pub(crate) channels: u32,
    /// `audioObjectType` that stands first: 5 and 29 add something to the coded units.
    pub(crate) declared: u32,
}

impl Syntax for Loas {
    fn measure(&self, data: &[u8]) -> Measure {
        match data {
            [0x56, second, third, ..] if second & 0xe0 == 0xe0 => {
                Measure::Frame(SYNC_BYTES + (usize::from(second & 0x1f) << 8 | usize::from(*third)))
            }
            [0x56] => Measure::More,
            [0x56, second] if second & 0xe0 == 0xe0 => Measure::More,
            _ => Measure::Nothing,
        }
    }

    fn continues(&self, _data: &[u8]) -> bool {
        true // headers hold nothing but the length
    }

    fn read<'a>(&mut self, frame: &'a [u8]) -> Result<Vec<Unit<'a>>, &'static str> {
        let element = frame.get(SYNC_BYTES..).unwrap_or_default();
        let mut bits = Bits::new(element);
        if !bits.flag().ok_or("latm_short")? {
            let (mux, config) = mux_config(element, &mut bits).ok_or("latm_unsupported")?;
            self.mux = Some(mux);
            if self.config.as_ref() != Some(&config) {
                self.config = Some(config);
            }
        }
        // Units before the first configuration cannot be decoded, nor told from each other.
        let Some(mux) = self.mux else { return Ok(Vec::new()) };
        let unit = |_| {
            let payload = payload(element, &mut bits)?;
            Some(Unit { payload: Cow::Owned(payload), samples: mux.core.samples, rate: mux.core.rate })
        };
        (0..mux.units).map(unit).collect::<Option<_>>().ok_or("latm_short")
    }

    fn config(&self) -> Option<&AudioConfig> {
        self.config.as_ref()
    }
}

/// PayloadLengthInfo and PayloadMux of one unit; its bytes may start at any bit.
fn payload(element: &[u8], bits: &mut Bits<'_>) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let part = bits.read(8)? as usize;
        length += part;
        if part < 255 {
            break;
        }
    }
    if bits.remaining() < length * 8 {
        return None;
    }
    let start = bits.position();
    bits.skip(length * 8)?;
    Some(shifted(element, start, length))
}

/// `length` bytes from bit `start` on, which lie within `data`.
fn shifted(data: &[u8], start: usize, length: usize) -> Vec<u8> {
    let (first, shift) = (start / 8, start % 8);
    let bytes = &data[first..first + length];
    if shift == 0 {
        return bytes.to_vec();
    }
    let next = data[first + 1..].iter().chain(std::iter::once(&0));
    bytes.iter().zip(next).map(|(high, low)| high << shift | low >> (8 - shift)).collect()
}

/// StreamMuxConfig. `None` also for what is not supported: several programs or layers, units of fixed length.
fn mux_config(element: &[u8], bits: &mut Bits<'_>) -> Option<(Mux, AudioConfig)> {
    let version = bits.flag()?;
    if version {
        if bits.flag()? {
            return None;
        }
        latm_value(bits)?; // taraBufferFullness
    }
    let same_framing = bits.flag()?;
    let units = bits.read(6)? + 1;
    let programs = bits.read(4)?;
    let layers = bits.read(3)?;
    if !same_framing || programs != 0 || layers != 0 {
        return None;
    }
    let length = if version { Some(latm_value(bits)? as usize) } else { None };
    let start = bits.position();
    let (core, mut config) = specific_config(bits)?;
    let used = bits.position() - start;
    if let Some(length) = length {
        bits.skip(length.checked_sub(used)?)?;
    }
    config.description = Some(Bytes::from(copy_bits(element, start, length.unwrap_or(used))?));
    if bits.read(3)? != 0 {
        return None; // frameLengthType
    }
    bits.skip(8)?; // latmBufferFullness
    if bits.flag()? {
        other_data(bits, version)?;
    }
    if bits.flag()? {
        bits.skip(8)?; // crcCheckSum
    }
    Some((Mux { units, core }, config))
}

fn other_data(bits: &mut Bits<'_>, version: bool) -> Option<()> {
    if version {
        latm_value(bits)?;
        return Some(());
    }
    while bits.flag()? {
        bits.skip(8)?;
    }
    bits.skip(8)
}

fn latm_value(bits: &mut Bits<'_>) -> Option<u32> {
    let count = bits.read(2)? + 1;
    bits.read(8 * count)
}

fn copy_bits(data: &[u8], start: usize, count: usize) -> Option<Vec<u8>> {
    let mut bits = Bits::new(data);
    bits.skip(start)?;
    let mut writer = BitWriter::default();
    for _ in 0..count {
        writer.write(bits.read(1)?, 1);
    }
    Some(writer.finish())
}

/// What an AudioSpecificConfig says: samples of a unit, the rate at which they count, and the parameters for players.
pub(crate) fn read_specific_config(data: &Bytes) -> Option<(u32, u32, AudioConfig)> {
    let (core, mut config) = specific_config(&mut Bits::new(data))?;
    config.description = Some(data.clone());
    Some((core.samples, core.rate, config))
}

/// What an AudioSpecificConfig says about the coded units, without what is added to them.
pub(crate) fn read_core(data: &[u8]) -> Option<Core> {
    specific_config(&mut Bits::new(data)).map(|(core, _)| core)
}

/// AudioSpecificConfig of the object types that carry general audio.
fn specific_config(bits: &mut Bits<'_>) -> Option<(Core, AudioConfig)> {
    const BAND_REPLICATION: u32 = 5;
    const PARAMETRIC_STEREO: u32 = 29;
    let declared = object_type(bits)?;
    let rate = sampling_rate(bits)?;
    let channel_config = bits.read(4)?;
    let mut object = declared;
    let mut output = rate;
    if matches!(declared, BAND_REPLICATION | PARAMETRIC_STEREO) {
        output = sampling_rate(bits)?;
        object = object_type(bits)?;
    }
    if !matches!(object, 1..=4 | 7 | 17 | 19 | 21..=23) {
        return None;
    }
    let samples = if bits.flag()? { 960 } else { BLOCK_SAMPLES };
    if bits.flag()? {
        bits.skip(14)?; // coreCoderDelay
    }
    if bits.flag()? && matches!(object, 17 | 19..=23) {
        bits.skip(3)?; // error resilience flags
    }
    let channels = match channel_config {
        // With channels in a program config element: not seen in LATM broadcasts.
        0 => return None,
        7 => 8,
        1 if declared == PARAMETRIC_STEREO => 2,
        count @ 1..=6 => count,
        _ => return None,
    };
    let config = AudioConfig {
        codec: AudioCodec::Aac,
        codec_string: format!("mp4a.40.{declared}"),
        sample_rate: output,
        channels,
        description: None,
        frame_duration: block_duration(samples, rate),
        jitter: Duration::ZERO,
    };
    Some((Core { rate, samples, object, channels: channel_config, declared }, config))
}

fn object_type(bits: &mut Bits<'_>) -> Option<u32> {
    const ESCAPE: u32 = 31;
    match bits.read(5)? {
        ESCAPE => Some(32 + bits.read(6)?),
        kind => Some(kind),
    }
}

fn sampling_rate(bits: &mut Bits<'_>) -> Option<u32> {
    const EXPLICIT: u32 = 15;
    match bits.read(4)? {
        EXPLICIT => bits.read(24).filter(|rate| (1000..=192_000).contains(rate)),
        index => RATES.get(index as usize).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_13_reads_a_recorded_element() {
        // 56e126 2000 1190 1f e7f8: configuration, then 255 + ... bytes.
        let loas = Loas::default();
        assert_eq!(loas.measure(&[0x56, 0xe1, 0x26, 0x20, 0x00, 0x11, 0x90]), Measure::Frame(3 + 294));

        let element = [0x20, 0x00, 0x11, 0x90, 0x1f, 0xe7, 0xf8];
        let mut bits = Bits::new(&element);
        assert_eq!(bits.flag(), Some(false));
        let (mux, config) = mux_config(&element, &mut bits).unwrap();
        assert_eq!(mux.units, 1);
        assert_eq!(config.description.as_deref(), Some(&[0x11, 0x90][..]));
        assert_eq!((config.sample_rate, config.channels), (48_000, 2));
        // The first length byte is ff: at bit 45 of the element.
        assert_eq!(bits.position(), 45);
        assert_eq!(bits.read(8), Some(0xff));
    }

    #[test]
    fn units_wait_for_a_configuration_and_keep_it() {
        let mut loas = Loas::default();
        let bare = [0x56, 0xe0, 3, 0x81, 0x55, 0x00];
        assert_eq!(loas.read(&bare).unwrap().len(), 0);

        let mut writer = BitWriter::default();
        writer.write(0b0_0_1, 3);
        writer.write(0, 6 + 4 + 3);
        writer.write(0x1190, 16);
        writer.write(0, 3);
        writer.write(0xff, 8);
        writer.write(0, 2);
        writer.write(2, 8);
        writer.write(0xabcd, 16);
        let element = writer.finish();
        let mut frame = vec![0x56, 0xe0, u8::try_from(element.len()).unwrap()];
        frame.extend(element);
        let units = loas.read(&frame).unwrap();
        assert_eq!(units[0].payload.as_ref(), [0xab, 0xcd]);

        // 1 | 0000 0010 | ... : same configuration, two bytes.
        let units = loas.read(&[0x56, 0xe0, 4, 0x81, 0x2a, 0xaa, 0x80]).unwrap();
        assert_eq!(units[0].payload.as_ref(), [0x55, 0x55]);
        assert!(loas.read(&[0x56, 0xe0, 2, 0xff, 0xff]).is_err());
    }
}
