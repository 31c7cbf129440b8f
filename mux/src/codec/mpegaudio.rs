//! MPEG-1 and MPEG-2 audio, layers I to III (ISO/IEC 11172-3 section 2.4.1.3, 13818-3).

use std::borrow::Cow;
use std::time::Duration;

use super::aac::block_duration;
use super::audio::{Measure, Syntax, Unit};
use crate::event::{AudioCodec, AudioConfig};

const HEADER_BYTES: usize = 4;

/// kbit/s by index 1 to 14: MPEG-1 layers I, II, III; MPEG-2 layer I; MPEG-2 layers II and III.
const KBITS: [[u32; 14]; 5] = [
    [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

/// Sync frames of any layer.
#[derive(Debug, Default)]
pub(crate) struct MpegAudio {
    config: Option<AudioConfig>,
}

struct Header {
    layer: u8,
    rate: u32,
    channels: u32,
    samples: u32,
    length: usize,
}

impl Header {
    fn parse(data: &[u8]) -> Option<Self> {
        let head: [u8; HEADER_BYTES] = data.get(..HEADER_BYTES)?.try_into().ok()?;
        if head[0] != 0xff || head[1] & 0xe0 != 0xe0 {
            return None;
        }
        // 3 is MPEG-1, 2 is MPEG-2, 0 is its extension to half the rates.
        let version = head[1] >> 3 & 3;
        let layer = 4 - (head[1] >> 1 & 3);
        let rate_index = usize::from(head[2] >> 2 & 3);
        if version == 1 || layer == 4 {
            return None;
        }
        let rate = *[44_100, 48_000, 32_000].get(rate_index)? >> [2, 0, 1, 0][usize::from(version)];
        let table = match (version, layer) {
            (3, layer) => usize::from(layer) - 1,
            (_, 1) => 3,
            _ => 4,
        };
        let kbits = *KBITS[table].get(usize::from(head[2] >> 4).checked_sub(1)?)?;
        let samples = match (version, layer) {
            (_, 1) => 384,
            (3, _) | (_, 2) => 1152,
            _ => 576,
        };
        let slot = if layer == 1 { 4 } else { 1 };
        let padding = u32::from(head[2] >> 1 & 1);
        let slots = samples / 8 * kbits * 1000 / rate / slot + padding;
        let channels = if head[3] >> 6 == 3 { 1 } else { 2 };
        Some(Self { layer, rate, channels, samples, length: (slots * slot) as usize })
    }

    fn config(&self) -> AudioConfig {
        let (codec, name) = if self.layer == 3 { (AudioCodec::Mp3, "mp3") } else { (AudioCodec::Mp2, "mp2") };
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

impl MpegAudio {
    fn fits(&self, header: &Header) -> bool {
        self.config.as_ref().is_some_and(|config| {
            config.sample_rate == header.rate
                && config.channels == header.channels
                && (config.codec == AudioCodec::Mp3) == (header.layer == 3)
        })
    }
}

impl Syntax for MpegAudio {
    fn measure(&self, data: &[u8]) -> Measure {
        match data {
            _ if data.len() >= HEADER_BYTES => {
                Header::parse(data).map_or(Measure::Nothing, |header| Measure::Frame(header.length))
            }
            [0xff] => Measure::More,
            [0xff, second, ..] if second & 0xe0 == 0xe0 => Measure::More,
            _ => Measure::Nothing,
        }
    }

    fn continues(&self, data: &[u8]) -> bool {
        Header::parse(data).is_some_and(|header| self.fits(&header))
    }

    fn read<'a>(&mut self, frame: &'a [u8]) -> Result<Vec<Unit<'a>>, &'static str> {
        let header = Header::parse(frame).ok_or("mpeg_audio_header")?;
        if !self.fits(&header) {
            self.config = Some(header.config());
        }
        Ok(vec![Unit { payload: Cow::Borrowed(frame), samples: header.samples, rate: header.rate }])
    }

    fn config(&self) -> Option<&AudioConfig> {
        self.config.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(head: [u8; 4]) -> (usize, u32, u32, u32, u8) {
        let header = Header::parse(&head).unwrap();
        (header.length, header.samples, header.rate, header.channels, header.layer)
    }

    #[test]
    fn knows_sizes_of_all_layers() {
        // MP2, 192 kbit/s, 48 kHz, stereo.
        assert_eq!(measure([0xff, 0xfd, 0xa4, 0x00]), (576, 1152, 48_000, 2, 2));
        // MP3, 128 kbit/s, 44.1 kHz, joint stereo, without and with padding.
        assert_eq!(measure([0xff, 0xfb, 0x90, 0x40]), (417, 1152, 44_100, 2, 3));
        assert_eq!(measure([0xff, 0xfb, 0x92, 0x40]), (418, 1152, 44_100, 2, 3));
        // MPEG-2 layer III, 64 kbit/s, 22.05 kHz, mono.
        assert_eq!(measure([0xff, 0xf3, 0x80, 0xc0]), (208, 576, 22_050, 1, 3));
        // Layer I, 384 kbit/s, 48 kHz.
        assert_eq!(measure([0xff, 0xff, 0xc4, 0x00]), (384, 384, 48_000, 2, 1));
    }

    #[test]
    fn refuses_what_has_no_length() {
        for head in
            [[0xff, 0xfd, 0x04, 0], [0xff, 0xfd, 0xf4, 0], [0xff, 0xfd, 0xac, 0], [0xff, 0xf9, 0xa4, 0]]
        {
            assert!(Header::parse(&head).is_none(), "{head:x?}");
        }
    }
}
