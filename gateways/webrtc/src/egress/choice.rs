//! Which tracks of a broadcast a player is sent, and how.

use axum::http::StatusCode;
use bytes::Bytes;
use moqgate_mux::catalog::Catalog;
use moqgate_mux::rtp::{Carried, Choices, Codec, Format, Unfit, choose};

use super::B_FRAMES;
use crate::error::Refusal;
use crate::sdp::{Offer, Payload};

/// A track and the format in which it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) track: String,
    pub(super) payload: Payload,
    /// The AudioSpecificConfig of AAC that is made Opus.
    pub(super) aac: Option<Bytes>,
}

/// What a player can receive.
pub(super) struct Formats {
    payloads: Vec<Payload>,
    formats: Vec<Format>,
    video: bool,
    audio: bool,
    /// Nothing else can be agreed on any more.
    settled: bool,
    /// Tracks that were seen to have B-frames.
    reordered: Vec<String>,
}

impl Formats {
    /// Everything that a player offers.
    pub(super) fn offered(offer: &Offer, reordered: Vec<String>) -> Self {
        let sections = || offer.sections().iter().filter(|s| s.is_media() && s.direction.receives());
        let payloads = sections().flat_map(|section| section.payloads.clone()).collect();
        Self::new(payloads, false, reordered)
    }

    /// What was agreed on.
    pub(super) fn agreed(payloads: Vec<Payload>, reordered: Vec<String>) -> Self {
        Self::new(payloads, true, reordered)
    }

    fn new(payloads: Vec<Payload>, settled: bool, reordered: Vec<String>) -> Self {
        let formats = payloads.iter().map(|payload| payload.format.clone()).collect();
        let has = |video| payloads.iter().any(|payload: &Payload| payload.format.codec().is_video() == video);
        Self { video: has(true), audio: has(false), formats, settled, reordered, payloads }
    }

    /// The best picture and the first sound of a broadcast.
    pub(super) fn choose(&self, catalog: &Catalog) -> Result<Vec<Choice>, Refusal> {
        let choices = choose(catalog, &self.formats);
        let video = self.video(catalog, &choices);
        if video.is_none() && self.video {
            if catalog.video.renditions.keys().any(|track| self.is_reordered(track)) {
                return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, B_FRAMES));
            }
            if self.settled && !catalog.video.renditions.is_empty() {
                let detail = refused(&choices).unwrap_or_default();
                return Err(Refusal::new(
                    StatusCode::NOT_ACCEPTABLE,
                    format!("not what was agreed: {detail}"),
                ));
            }
        }
        let audio = choices.audio.first().filter(|_| self.audio).and_then(|carried| self.choice(carried));
        let audio = audio.or_else(|| self.transcoded(catalog));
        let chosen: Vec<Choice> = [video, audio].into_iter().flatten().collect();
        if !chosen.is_empty() {
            return Ok(chosen);
        }
        match refused(&choices) {
            Some(detail) => Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, detail)),
            None => Err(Refusal::new(StatusCode::NOT_FOUND, "the broadcast has no tracks yet")),
        }
    }

    /// All pictures of a broadcast that fit, the largest first.
    pub(super) fn pictures(&self, catalog: &Catalog) -> Vec<Choice> {
        let choices = choose(catalog, &self.formats);
        let fitting = choices.video.iter().filter(|carried| !self.is_reordered(&carried.track));
        fitting.filter_map(|carried| self.choice(carried)).collect()
    }

    fn choice(&self, carried: &Carried) -> Option<Choice> {
        let payload = self.payloads.get(carried.format)?.clone();
        Some(Choice { track: carried.track.clone(), payload, aac: None })
    }

    fn video(&self, catalog: &Catalog, choices: &Choices) -> Option<Choice> {
        let mut videos = choices.video.iter().filter(|_| self.video);
        let video = videos.find(|carried| !self.is_reordered(&carried.track));
        video.and_then(|carried| self.choice(carried)).or_else(|| self.beyond(catalog, choices))
    }

    /// A picture in H.264 of a profile that was not offered. Browsers offer what they encode, and decode High under any of
    /// it; those that cannot show nothing, which they would without it, too.
    fn beyond(&self, catalog: &Catalog, choices: &Choices) -> Option<Choice> {
        let fragments = |payload: &&Payload| {
            let format = &payload.format;
            format.codec() == Codec::H264 && format.parameter("packetization-mode") == Some("1")
        };
        let payload = self.payloads.iter().find(fragments)?;
        let is_avc = |codec: &str| codec.starts_with("avc1") || codec.starts_with("avc3");
        let track = choices.refused.iter().find(|track| {
            let known = catalog.video.renditions.contains_key(&track.track);
            let profile = known && track.reason == Unfit::ProfileNotOffered && is_avc(&track.codec);
            profile && !self.is_reordered(&track.track)
        })?;
        Some(Choice { track: track.track.clone(), payload: payload.clone(), aac: None })
    }

    fn is_reordered(&self, track: &str) -> bool {
        self.reordered.iter().any(|known| known == track)
    }

    /// The first AAC of a broadcast, which is made Opus for those who can receive that.
    fn transcoded(&self, catalog: &Catalog) -> Option<Choice> {
        let payload = self.payloads.iter().find(|payload| payload.format.codec() == Codec::Opus)?;
        let aac = catalog.audio.renditions.iter().find(|(_, audio)| audio.codec.starts_with("mp4a.40."));
        let (track, audio) = aac?;
        let aac = Some(audio.description.clone()?);
        Some(Choice { track: track.clone(), payload: payload.clone(), aac })
    }
}

/// Why nothing can be sent.
fn refused(choices: &Choices) -> Option<String> {
    let reasons: Vec<String> =
        choices.refused.iter().map(|refused| format!("{}: {}", refused.codec, refused.reason)).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(number: u8, codec: Codec, parameters: &str) -> Payload {
        let format = Format::new(codec, parameters);
        Payload { number, format, parameters: parameters.to_owned(), channels: 0 }
    }

    fn catalog(video: &str, audio: &str) -> Catalog {
        let track = |codec: &str| format!(r#"{{"codec":"{codec}","sampleRate":48000,"numberOfChannels":2}}"#);
        let text = format!(
            r#"{{"video":{{"renditions":{{"v":{{"codec":"{video}"}}}}}},"audio":{{"renditions":{{"a":{}}}}}}}"#,
            track(audio)
        );
        Catalog::from_json(text.as_bytes()).expect("a catalog")
    }

    #[test]
    fn what_was_agreed_holds_for_the_next_publisher() {
        let agreed = vec![payload(96, Codec::Vp8, ""), payload(111, Codec::Opus, "")];
        let formats = Formats::agreed(agreed, Vec::new());
        let tracks = |video: &str, audio: &str| {
            let chosen =
                formats.choose(&catalog(video, audio)).map_err(|refusal| refusal.detail().to_owned());
            chosen.map(|chosen| chosen.into_iter().map(|choice| choice.track).collect::<Vec<_>>())
        };
        assert_eq!(tracks("vp8", "opus"), Ok(vec!["v".to_owned(), "a".to_owned()]));
        assert_eq!(tracks("vp8", "mp3"), Ok(vec!["v".to_owned()]), "sound may be missing");
        let other = "not what was agreed: avc3.42c01e: the receiver does not offer the coding";
        assert_eq!(tracks("avc3.42c01e", "opus"), Err(other.to_owned()));
        let mut reordered = Formats::agreed(vec![payload(96, Codec::Vp8, "")], vec!["v".to_owned()]);
        let refusal = reordered.choose(&catalog("vp8", "opus")).expect_err("B-frames");
        assert_eq!(refusal.detail(), B_FRAMES);
        reordered.reordered.clear();
        assert!(reordered.choose(&catalog("vp8", "opus")).is_ok());
    }
}
