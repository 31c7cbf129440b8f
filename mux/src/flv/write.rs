//! Bodies of audio, video and script tags.

use bytes::Bytes;

use crate::codec::av1::{self, Sequence, TemporalUnit};
use crate::codec::boxes;
use crate::codec::inband::InBand;
use crate::codec::opus::{self, OpusLayout};
use crate::codec::vpx;
use crate::event::VideoCodec;
use crate::export::{Coding, Source};

/// Packet types of enhanced bodies; the same for both kinds where both have them.
const SEQUENCE_START: u8 = 0;
const CODED_FRAMES: u8 = 1;
/// Without a composition time, which is 0 then.
const CODED_FRAMES_X: u8 = 3;
const AUDIO_MULTITRACK: u8 = 5;
const VIDEO_MULTITRACK: u8 = 6;

/// How a track is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// The FourCC of its coding.
    pub(super) four_cc: [u8; 4],
    /// Its number; above 0 only for those who know multitrack.
    pub(super) number: u8,
    is_video: bool,
}

impl Label {
    /// `None` for what no FLV carries.
    pub(super) fn new(source: &Source, number: u8) -> Option<Self> {
        let four_cc = match &source.coding {
            Coding::Video(video) => match video.codec {
                VideoCodec::H264 => b"avc1",
                VideoCodec::H265 => b"hvc1",
                VideoCodec::Av1 => b"av01",
                VideoCodec::Vp9 => b"vp09",
                VideoCodec::Vp8 => b"vp08",
            },
            Coding::Aac { .. } => b"mp4a",
            Coding::Opus { .. } => b"Opus",
            Coding::Mp3 { .. } => b".mp3",
            Coding::Ac3 => b"ac-3",
            Coding::Eac3 => b"ec-3",
            Coding::Flac { .. } => b"fLaC",
            Coding::Mp2 | Coding::Data { .. } => return None,
        };
        Some(Self { four_cc: *four_cc, number, is_video: source.is_video() })
    }

    pub(super) fn is_video(&self) -> bool {
        self.is_video
    }

    /// Every reader knows it, for it has a number in the legacy header.
    pub(super) fn is_legacy(&self) -> bool {
        self.number == 0 && matches!(&self.four_cc, b"avc1" | b"mp4a" | b".mp3")
    }

    /// What `onMetaData` calls the coding.
    pub(super) fn codec_id(&self) -> f64 {
        match &self.four_cc {
            b"avc1" => 7.0,
            b"mp4a" => 10.0,
            b".mp3" => 2.0,
            other => f64::from(u32::from_be_bytes(*other)),
        }
    }

    /// Parameters of the track.
    pub(super) fn config(&self, coding: &Coding, record: &[u8]) -> Bytes {
        let mut body = Vec::with_capacity(record.len() + 8);
        self.head(&mut body, coding, SEQUENCE_START, true, 0);
        body.extend_from_slice(record);
        body.into()
    }

    /// A frame; `None` when nothing of it is left to write.
    pub(super) fn frame(
        &self,
        coding: &Coding,
        keyframe: bool,
        composition_ms: i32,
        data: &[u8],
    ) -> Option<Bytes> {
        let mut body = Vec::with_capacity(data.len() + 24);
        self.head(&mut body, coding, CODED_FRAMES, keyframe, composition_ms);
        let head = body.len();
        match coding.video() {
            Some(video) => picture(video.codec, data, &mut body),
            None => body.extend_from_slice(data),
        }
        (body.len() > head).then(|| body.into())
    }

    fn head(&self, body: &mut Vec<u8>, coding: &Coding, kind: u8, keyframe: bool, composition_ms: i32) {
        let composition = composition_ms.to_be_bytes();
        if self.is_legacy() {
            if self.is_video {
                body.extend([if keyframe { 0x17 } else { 0x27 }, kind]);
                body.extend_from_slice(&composition[1..]);
            } else if let Coding::Mp3 { rate, channels } = coding {
                body.push(mp3_head(*rate, *channels));
            } else {
                body.extend([0xaf, kind]);
            }
            return;
        }
        let composes = matches!(&self.four_cc, b"avc1" | b"hvc1") && kind == CODED_FRAMES;
        let kind = if composes && composition_ms == 0 { CODED_FRAMES_X } else { kind };
        let first = match (self.is_video, keyframe) {
            (true, true) => 0x90,
            (true, false) => 0xa0,
            (false, _) => 0x90,
        };
        if self.number > 0 {
            body.extend([first | if self.is_video { VIDEO_MULTITRACK } else { AUDIO_MULTITRACK }, kind]);
        } else {
            body.push(first | kind);
        }
        body.extend_from_slice(&self.four_cc);
        if self.number > 0 {
            body.push(self.number);
        }
        if composes && kind == CODED_FRAMES {
            body.extend_from_slice(&composition[1..]);
        }
    }
}

/// Format 2, 16 bits; the rate field ends at 44.1 kHz.
fn mp3_head(rate: u32, channels: u32) -> u8 {
    let rate = match rate {
        0..12_000 => 1,
        12_000..32_000 => 2,
        _ => 3,
    };
    0x22 | rate << 2 | u8::from(channels > 1)
}

fn picture(codec: VideoCodec, data: &[u8], body: &mut Vec<u8>) {
    // Parameter sets stand in the record; delimiters and filler are of no use here.
    let left_out = |head: u8| match codec {
        VideoCodec::H264 => matches!(head & 31, 7..=9 | 12),
        VideoCodec::H265 | VideoCodec::Av1 | VideoCodec::Vp9 | VideoCodec::Vp8 => {
            matches!(head >> 1 & 63, 32..=35 | 38)
        }
    };
    match codec {
        VideoCodec::H264 | VideoCodec::H265 => {
            for unit in boxes::units(data).filter(|unit| !left_out(unit[0])) {
                body.extend(u32::try_from(unit.len()).unwrap_or_default().to_be_bytes());
                body.extend_from_slice(unit);
            }
        }
        VideoCodec::Av1 | VideoCodec::Vp9 | VideoCodec::Vp8 => body.extend_from_slice(data),
    }
}

/// The record of a track's parameters; for pictures from a keyframe. `None` when they are not known.
pub(super) fn record(coding: &Coding, unit: &[u8]) -> Option<Vec<u8>> {
    match coding {
        Coding::Video(video) => match video.codec {
            VideoCodec::H264 => boxes::write_avc(&InBand::read(video.codec, unit)?.sets),
            VideoCodec::H265 => boxes::write_hevc(&InBand::read(video.codec, unit)?.sets),
            VideoCodec::Av1 => {
                let obu = TemporalUnit::parse(unit)?.sequence?;
                Some(av1::write_config(&Sequence::parse(obu.body)?, &obu))
            }
            VideoCodec::Vp9 => vpx::vp9(unit)?.record(),
            VideoCodec::Vp8 => vpx::vp8(unit)?.record(),
        },
        Coding::Aac { config } => Some(config.to_vec()),
        Coding::Opus { head: Some(head), .. } | Coding::Flac { head } => Some(head.to_vec()),
        Coding::Opus { head: None, channels } => {
            let layout = u8::try_from(*channels).ok().and_then(OpusLayout::from_code)?;
            Some(opus::head(layout, 0))
        }
        Coding::Ac3 | Coding::Eac3 | Coding::Mp3 { .. } => Some(Vec::new()),
        Coding::Mp2 | Coding::Data { .. } => None,
    }
}

/// `onMetaData` with these numbers, and the numbers of the tracks beyond the first of each kind.
pub(super) fn metadata(values: &[(&str, f64)], labels: &[Label]) -> Bytes {
    const STRING: u8 = 2;
    const OBJECT: u8 = 3;
    const ECMA_ARRAY: u8 = 8;
    const END: [u8; 3] = [0, 0, 9];
    let mut body = vec![STRING];
    text(&mut body, "onMetaData");
    body.push(ECMA_ARRAY);
    let count = u32::try_from(values.len() + 1).unwrap_or_default();
    body.extend(count.to_be_bytes());
    for (key, value) in values {
        text(&mut body, key);
        body.push(0);
        body.extend(value.to_be_bytes());
    }
    for (key, is_video) in [("videoTrackIdInfoMap", true), ("audioTrackIdInfoMap", false)] {
        let more: Vec<_> =
            labels.iter().filter(|label| label.number > 0 && label.is_video == is_video).collect();
        if more.is_empty() {
            continue;
        }
        text(&mut body, key);
        body.push(OBJECT);
        for label in more {
            text(&mut body, &label.number.to_string());
            body.push(OBJECT);
            body.extend(END);
        }
        body.extend(END);
    }
    text(&mut body, "encoder");
    body.push(STRING);
    text(&mut body, "moqgate");
    body.extend(END);
    body.into()
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend(u16::try_from(text.len()).unwrap_or_default().to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}
