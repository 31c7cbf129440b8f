//! Which tracks of a broadcast a receiver can be sent.

mod profile;

use super::export::find;
use super::{Codec, Format};
use crate::catalog::{AudioRendition, Catalog, Container, VideoRendition};

/// A track that can be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its name in the broadcast.
    pub track: String,
    /// The coding.
    pub codec: Codec,
    /// Which of the offered formats fits it best: an index into what [`choose`] was given.
    pub format: usize,
    /// How well.
    pub fit: Fit,
}

/// How well a format fits, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// The same profile, and a level that suffices.
    Exact,
    /// A profile that includes that of the track.
    Wider,
    /// The profile fits; the track's level is above the offered one. Browsers offer level 3.1 and decode more.
    LevelBeyond,
}

/// A track that cannot be sent, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name in the broadcast.
    pub track: String,
    /// Its codec string.
    pub codec: String,
    /// The reason.
    pub reason: Unfit,
}

/// Why a track cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// RTP as browsers speak it has no form for this coding. AAC can be transcoded to Opus.
    #[error("the coding has no form in WebRTC")]
    NoPayloadFormat,
    /// Opus of more than two channels has no form that is standardised.
    #[error("Opus of more than two channels has no form in WebRTC")]
    Channels,
    /// The receiver did not offer the coding.
    #[error("the receiver does not offer the coding")]
    CodecNotOffered,
    /// The receiver offers the coding, but no profile that includes that of the track.
    #[error("the receiver does not offer the profile")]
    ProfileNotOffered,
    /// The receiver offers the coding only with one unit per packet (RFC 6184 section 6.2), which pictures do not fit.
    #[error("the receiver does not offer packetization-mode 1")]
    PacketizationMode,
    /// The track's frames are wrapped in a way that is not read here, or lack their description.
    #[error("the container of the frames is not supported")]
    Container,
}

/// What can be sent, and what cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Video renditions: the one with most pixels first, among equals the highest bitrate, then the best fit.
    pub video: Vec<Carried>,
    /// Audio renditions in the order of their names.
    pub audio: Vec<Carried>,
    /// The others.
    pub refused: Vec<Refused>,
}

/// Matches the tracks of a broadcast with the formats that a receiver has offered.
pub fn choose(catalog: &Catalog, formats: &[Format]) -> Choices {
    let mut choices = Choices::default();
    let mut video = Vec::new();
    for (name, track) in &catalog.video.renditions {
        let fits = |codec| best(formats, codec, |format| profile::fit(format, &track.codec));
        let found = payload(catalog, name, track.container == Container::Legacy, is_video(&track.codec));
        if let Some(carried) = choices.enter(name, &track.codec, found, fits) {
            video.push((size(track), carried));
        }
    }
    video.sort_by_key(|(size, carried)| (std::cmp::Reverse(*size), carried.fit));
    choices.video = video.into_iter().map(|(_, carried)| carried).collect();
    for (name, track) in &catalog.audio.renditions {
        let fits = |codec| best(formats, codec, |_| Some(Fit::Exact));
        let found = payload(catalog, name, track.container == Container::Legacy, track.codec == "opus");
        let found = if found.is_ok() && is_surround(track) { Err(Unfit::Channels) } else { found };
        let carried = choices.enter(name, &track.codec, found, fits);
        choices.audio.extend(carried);
    }
    choices
}

impl Choices {
    fn enter(
        &mut self,
        track: &str,
        codec: &str,
        found: Result<Codec, Unfit>,
        fits: impl FnOnce(Codec) -> Result<(usize, Fit), Unfit>,
    ) -> Option<Carried> {
        match found.and_then(|codec| Ok((codec, fits(codec)?))) {
            Ok((codec, (format, fit))) => Some(Carried { track: track.to_owned(), codec, format, fit }),
            Err(reason) => {
                self.refused.push(Refused { track: track.to_owned(), codec: codec.to_owned(), reason });
                None
            }
        }
    }
}

/// The coding of a track, if there is a payload format for it and its frames can be read.
fn payload(catalog: &Catalog, track: &str, legacy: bool, known: bool) -> Result<Codec, Unfit> {
    match find(catalog, track) {
        Some((codec, _)) => Ok(codec),
        None if known || !legacy => Err(Unfit::Container),
        None => Err(Unfit::NoPayloadFormat),
    }
}

/// The offered format that fits best; among equals the first, which the receiver prefers.
fn best(
    formats: &[Format],
    codec: Codec,
    fit: impl Fn(&Format) -> Option<Fit>,
) -> Result<(usize, Fit), Unfit> {
    let offered: Vec<_> = formats.iter().enumerate().filter(|(_, format)| format.codec() == codec).collect();
    if offered.is_empty() {
        return Err(Unfit::CodecNotOffered);
    }
    let usable =
        |format: &Format| codec != Codec::H264 || format.parameter("packetization-mode") == Some("1");
    if !offered.iter().any(|(_, format)| usable(format)) {
        return Err(Unfit::PacketizationMode);
    }
    let fitting = offered.into_iter().filter(|(_, format)| usable(format));
    fitting
        .filter_map(|(index, format)| Some((index, fit(format)?)))
        .min_by_key(|(_, fit)| *fit)
        .ok_or(Unfit::ProfileNotOffered)
}

fn is_video(codec: &str) -> bool {
    let name = codec.split('.').next().unwrap_or_default();
    matches!(name, "avc1" | "avc3" | "hvc1" | "hev1" | "av01" | "vp09" | "vp8")
}

fn is_surround(track: &AudioRendition) -> bool {
    // The mapping family of OpusHead (RFC 7845 section 5.1).
    const FAMILY_AT: usize = 18;
    let family = track.description.as_ref().and_then(|head| head.get(FAMILY_AT).copied());
    track.number_of_channels > 2 || family.is_some_and(|family| family != 0)
}

/// Pixels, then bitrate.
fn size(track: &VideoRendition) -> (u64, u64) {
    let side = |side: Option<u32>| u64::from(side.unwrap_or(1));
    (side(track.coded_width) * side(track.coded_height), track.bitrate.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(video: &[(&str, &str, u32)], audio: &[(&str, u32)]) -> Catalog {
        let mut catalog = Catalog::default();
        for (name, codec, height) in video {
            let (coded_width, coded_height) = (Some(height * 16 / 9), Some(*height));
            let codec = (*codec).to_owned();
            let track = VideoRendition { codec, coded_width, coded_height, ..VideoRendition::default() };
            catalog.video.renditions.insert((*name).to_owned(), track);
        }
        for (codec, number_of_channels) in audio {
            let (codec, number_of_channels) = ((*codec).to_owned(), *number_of_channels);
            let track =
                AudioRendition { codec: codec.clone(), number_of_channels, ..AudioRendition::default() };
            catalog.audio.renditions.insert(codec, track);
        }
        catalog
    }

    /// As Chromium offers them.
    fn chromium() -> Vec<Format> {
        let h264 = ["42001f", "42e01f", "4d001f", "64001f"].into_iter().flat_map(|profile| {
            [1, 0].map(|mode| {
                let fmtp =
                    format!("level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={profile}");
                Format::new(Codec::H264, &fmtp)
            })
        });
        let mut formats = vec![
            Format::new(Codec::Vp8, ""),
            Format::new(Codec::Vp9, "profile-id=0"),
            Format::new(Codec::Vp9, "profile-id=2"),
        ];
        formats.extend(h264);
        formats.push(Format::new(Codec::Av1, "level-idx=5;profile=0;tier=0"));
        formats.push(Format::new(Codec::Opus, "minptime=10;useinbandfec=1"));
        formats
    }

    fn fit(codec: &str) -> Result<(String, Fit), Unfit> {
        let formats = chromium();
        let choices = choose(&catalog(&[("v", codec, 720)], &[]), &formats);
        match choices.video.first() {
            Some(carried) => {
                let format = &formats[carried.format];
                let id = format.parameter("profile-level-id").or(format.parameter("profile-id"));
                Ok((id.unwrap_or_default().to_owned(), carried.fit))
            }
            None => Err(choices.refused[0].reason),
        }
    }

    #[test]
    fn every_profile_finds_its_format() {
        let ok = |profile: &str, fit| Ok((profile.to_owned(), fit));
        assert_eq!(fit("avc3.42c01e"), ok("42e01f", Fit::Exact));
        assert_eq!(fit("avc3.42001e"), ok("42001f", Fit::Exact));
        assert_eq!(fit("avc3.4d401f"), ok("4d001f", Fit::Exact));
        assert_eq!(fit("avc3.64001f"), ok("64001f", Fit::Exact));
        assert_eq!(fit("avc3.640c1f"), ok("64001f", Fit::Wider), "Constrained High");
        assert_eq!(fit("avc3.640028"), ok("64001f", Fit::LevelBeyond));
        assert_eq!(fit("avc3.6e001f"), Err(Unfit::ProfileNotOffered), "10 bits");
        assert_eq!(fit("vp09.00.31.08"), ok("0", Fit::Exact));
        assert_eq!(fit("vp09.02.31.10"), ok("2", Fit::Exact));
        assert_eq!(fit("vp09.01.31.08"), Err(Unfit::ProfileNotOffered));
        assert_eq!(fit("vp8"), ok("", Fit::Exact));
        assert_eq!(fit("av01.0.04M.08"), ok("", Fit::Exact));
        assert_eq!(fit("av01.0.08M.08"), ok("", Fit::LevelBeyond));
        assert_eq!(fit("av01.1.04M.08"), Err(Unfit::ProfileNotOffered));
        assert_eq!(fit("hev1.1.6.L93.B0"), Err(Unfit::CodecNotOffered));
        assert_eq!(fit("avc1.64001f"), Err(Unfit::Container), "without its description");
    }

    #[test]
    fn h265_profiles_tiers_and_levels() {
        let formats = [Format::new(Codec::H265, "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST")];
        let fit = |codec: &str| {
            choose(&catalog(&[("v", codec, 720)], &[]), &formats).video.first().map(|carried| carried.fit)
        };
        assert_eq!(fit("hev1.1.6.L93.B0"), Some(Fit::Exact));
        assert_eq!(fit("hev1.1.6.L120.B0"), Some(Fit::LevelBeyond));
        assert_eq!(fit("hev1.2.4.L93.B0"), None);
        assert_eq!(fit("hev1.1.6.H93.B0"), Some(Fit::LevelBeyond));
    }

    #[test]
    fn the_largest_rendition_comes_first_and_the_others_have_reasons() {
        let formats = chromium();
        let video = [("a", "avc3.42c01e", 360), ("b", "avc3.640028", 1080), ("c", "hev1.1.6.L93.B0", 2160)];
        let choices = choose(&catalog(&video, &[("mp4a.40.2", 2), ("opus", 2)]), &formats);
        let names = |list: &[Carried]| list.iter().map(|carried| carried.track.clone()).collect::<Vec<_>>();
        assert_eq!(names(&choices.video), ["b", "a"]);
        assert_eq!(names(&choices.audio), ["opus"]);
        let refused: Vec<_> =
            choices.refused.iter().map(|refused| (&refused.track[..], refused.reason)).collect();
        assert_eq!(refused, [("c", Unfit::CodecNotOffered), ("mp4a.40.2", Unfit::NoPayloadFormat)]);
        let surround = choose(&catalog(&[], &[("opus", 6)]), &formats);
        assert_eq!(surround.refused[0].reason, Unfit::Channels);
        let single = [Format::new(Codec::H264, "profile-level-id=42e01f")];
        let choices = choose(&catalog(&video[..1], &[]), &single);
        assert_eq!(choices.refused[0].reason, Unfit::PacketizationMode);
    }
}
