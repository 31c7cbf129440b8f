//! The tracks of a catalog, as an exporter sees them.

use bytes::Bytes;

use crate::catalog::{AudioRendition, Catalog, Container, Framing, MpegtsTrack, VideoRendition};
use crate::codec::boxes::NalConfig;
use crate::event::VideoCodec;

/// One track that can be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Source {
    /// Its name in the broadcast.
    pub(crate) name: String,
    pub(crate) coding: Coding,
    /// Where it lay in a transport stream, if it came from one.
    pub(crate) origin: Option<MpegtsTrack>,
}

/// What a track carries.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Coding {
    Video(Video),
    Aac {
        config: Bytes,
    },
    Opus {
        head: Option<Bytes>,
        channels: u32,
    },
    Mp3 {
        rate: u32,
        channels: u32,
    },
    Mp2,
    Ac3,
    Eac3,
    Flac {
        head: Bytes,
    },
    /// Carried in a transport stream as it is.
    Data {
        stream_type: u8,
        framing: Framing,
    },
}

/// A video track. Two are equal when the same decoder reads them: sizes and rates are only told on.
#[derive(Clone, Debug)]
pub(crate) struct Video {
    pub(crate) codec: VideoCodec,
    /// Units have lengths in front of them and their sets here, not in band.
    pub(crate) lengths: Option<NalConfig>,
    pub(crate) width: Option<u32>,
    pub(crate) height: Option<u32>,
    pub(crate) framerate: Option<f64>,
}

impl Coding {
    pub(crate) fn video(&self) -> Option<&Video> {
        if let Self::Video(video) = self { Some(video) } else { None }
    }
}

impl PartialEq for Video {
    fn eq(&self, other: &Self) -> bool {
        self.codec == other.codec && self.lengths == other.lengths
    }
}

impl Source {
    pub(crate) fn is_video(&self) -> bool {
        self.coding.video().is_some()
    }

    /// Sound or pictures, which send all the time.
    pub(crate) fn is_media(&self) -> bool {
        !matches!(self.coding, Coding::Data { .. })
    }
}

/// All tracks that an exporter can read: video first, then sound, then what stands only in `mpegts`.
pub(crate) fn sources(catalog: &Catalog) -> Vec<Source> {
    let origin = |name: &str| catalog.mpegts.tracks.get(name).cloned();
    let source = |name: &String, coding: Option<Coding>| {
        Some(Source { name: name.clone(), coding: coding?, origin: origin(name) })
    };
    let video = catalog.video.renditions.iter().filter_map(|(name, track)| source(name, video(track)));
    let audio = catalog.audio.renditions.iter().filter_map(|(name, track)| source(name, audio(track)));
    let rest = catalog.mpegts.tracks.iter().filter(|(name, _)| {
        !catalog.video.renditions.contains_key(*name) && !catalog.audio.renditions.contains_key(*name)
    });
    let rest = rest.filter_map(|(name, track)| source(name, verbatim(track)));
    video.chain(audio).chain(rest).collect()
}

fn video(track: &VideoRendition) -> Option<Coding> {
    if track.container != Container::Legacy {
        return None;
    }
    let described = || track.description.clone();
    let (codec, lengths) = match track.codec.split('.').next()? {
        "avc3" => (VideoCodec::H264, None),
        "hev1" if described().is_none() => (VideoCodec::H265, None),
        "avc1" => (VideoCodec::H264, NalConfig::avc(described()?)),
        "hvc1" | "hev1" => (VideoCodec::H265, NalConfig::hevc(described()?)),
        "av01" => (VideoCodec::Av1, None),
        "vp09" => (VideoCodec::Vp9, None),
        "vp8" => (VideoCodec::Vp8, None),
        _ => return None,
    };
    let (width, height, framerate) = (track.coded_width, track.coded_height, track.framerate);
    Some(Coding::Video(Video { codec, lengths, width, height, framerate }))
}

fn audio(track: &AudioRendition) -> Option<Coding> {
    if track.container != Container::Legacy {
        return None;
    }
    let (rate, channels) = (track.sample_rate, track.number_of_channels);
    match track.codec.as_str() {
        "opus" => Some(Coding::Opus { head: track.description.clone(), channels }),
        "mp3" | "mp4a.40.34" | "mp4a.6b" | "mp4a.69" => Some(Coding::Mp3 { rate, channels }),
        "flac" => track.description.clone().map(|head| Coding::Flac { head }),
        "ac-3" => Some(Coding::Ac3),
        "ec-3" => Some(Coding::Eac3),
        aac if aac.starts_with("mp4a.40.") => track.description.clone().map(|config| Coding::Aac { config }),
        _ => None,
    }
}

fn verbatim(track: &MpegtsTrack) -> Option<Coding> {
    let verbatim = track.verbatim.as_ref().filter(|verbatim| verbatim.container == Container::Legacy)?;
    Some(match track.codec.as_deref() {
        Some("ac-3") => Coding::Ac3,
        Some("ec-3") => Coding::Eac3,
        Some("mp2") => Coding::Mp2,
        _ => Coding::Data { stream_type: verbatim.stream_type, framing: verbatim.framing },
    })
}
