//! What a peer offers.

use std::fmt::Write as _;

use moqgate_mux::rtp::{Codec, Format};

use super::{attribute, is_candidate};

/// Longest offer, bytes: browsers with many codecs and layers need 10 KiB.
const TEXT_MAX: usize = 64 << 10;
/// Most lines.
const LINES_MAX: usize = 2000;
/// Most media sections: a picture, sound, a screen, a data channel, and as much again for each rejected by somebody.
const SECTIONS_MAX: usize = 16;
/// Most payload formats that are kept of a section; browsers offer about 25.
const PAYLOADS_MAX: usize = 48;
/// Most simulcast layers of a section.
const LAYERS_MAX: usize = 4;
/// Most sources that a section may name.
const SOURCES_MAX: usize = 16;
/// ICE credentials, bytes (RFC 8839 section 5.4).
const CREDENTIAL_MAX: usize = 256;

/// An offer that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    session: Vec<String>,
    sections: Vec<Section>,
}

/// Why an offer cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// It is longer than any client's.
    #[error("the description is too long")]
    TooLong,
    /// It is not a description.
    #[error("this is not a session description")]
    Syntax,
    /// Nothing in it can be sent or received.
    #[error("the offer has no audio or video section")]
    NoMedia,
    /// ICE credentials are missing or out of range.
    #[error("the offer has no ICE credentials")]
    NoCredentials,
    /// There is no fingerprint, so DTLS cannot be verified.
    #[error("the offer has no certificate fingerprint")]
    NoFingerprint,
    /// Several sections over several transports.
    #[error("the media sections must share one transport (a=group:BUNDLE)")]
    NoBundle,
}

/// What a media section is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
    /// Anything else; it is refused.
    Other,
}

/// Who sends, as the offerer says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    SendRecv,
    /// The offerer.
    SendOnly,
    /// The answerer.
    RecvOnly,
    /// Nobody.
    Inactive,
}

impl Direction {
    /// Whether the offerer would send.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the offerer would receive.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// A payload format with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The payload type.
    pub number: u8,
    /// Coding and parameters.
    pub format: Format,
    /// The parameters as they stand in the offer.
    pub parameters: String,
    /// Channels, for sound.
    pub channels: u16,
}

/// One media section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it is for.
    pub kind: Kind,
    /// Who sends.
    pub direction: Direction,
    /// Its name.
    pub mid: Option<String>,
    /// Formats that are known here, in the offerer's order.
    pub payloads: Vec<Payload>,
    /// Names of simulcast layers that the offerer sends.
    pub layers: Vec<String>,
    /// Sources that it names, without those of retransmissions.
    pub sources: Vec<u32>,
    /// Formats in which packets are sent again (RFC 4588): their numbers, and those of what they repair.
    pub repairs: Vec<(u8, u8)>,
    /// Sources that repair others: the repairing one, and the one that is repaired.
    pub repairing: Vec<(u32, u32)>,
    /// Whether it is offered at all: its port is not zero.
    pub offered: bool,
    protocol: String,
    first_format: String,
    lines: Vec<String>,
}

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    /// [`SdpError`], which can be shown to the client.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > TEXT_MAX {
            return Err(SdpError::TooLong);
        }
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        if lines.len() > LINES_MAX {
            return Err(SdpError::TooLong);
        }
        let is_line = |line: &&str| line.as_bytes().get(1) == Some(&b'=') && !line.contains('\0');
        if lines.first() != Some(&"v=0") || !lines.iter().all(is_line) {
            return Err(SdpError::Syntax);
        }
        let starts: Vec<usize> = (0..lines.len()).filter(|index| lines[*index].starts_with("m=")).collect();
        if starts.len() > SECTIONS_MAX {
            return Err(SdpError::TooLong);
        }
        let session = &lines[..starts.first().copied().unwrap_or(lines.len())];
        let ends = starts.iter().skip(1).copied().chain([lines.len()]);
        let sections: Option<Vec<_>> =
            starts.iter().zip(ends).map(|(start, end)| Section::parse(&lines[*start..end])).collect();
        let session = session.iter().filter(|line| !is_candidate(line)).map(|line| (*line).to_owned());
        let offer = Self { session: session.collect(), sections: sections.ok_or(SdpError::Syntax)? };
        offer.check().map(|()| offer)
    }

    fn check(&self) -> Result<(), SdpError> {
        let active = self.sections.iter().filter(|section| section.is_media()).count();
        if active == 0 {
            return Err(SdpError::NoMedia);
        }
        let value = |name: &str| self.value(name);
        let is_credential = |text: &str, min: usize| {
            let is_ice_char = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
            (min..=CREDENTIAL_MAX).contains(&text.len()) && text.bytes().all(is_ice_char)
        };
        let fragment = value("ice-ufrag").is_some_and(|text| is_credential(text, 4));
        let password = value("ice-pwd").is_some_and(|text| is_credential(text, 22));
        if !fragment || !password {
            return Err(SdpError::NoCredentials);
        }
        if value("fingerprint").is_none() {
            return Err(SdpError::NoFingerprint);
        }
        let bundled = self.session.iter().any(|line| line.starts_with("a=group:BUNDLE"));
        if active > 1 && !bundled { Err(SdpError::NoBundle) } else { Ok(()) }
    }

    /// The first value of an attribute: of the sections that are offered, or else of the session.
    fn value(&self, name: &str) -> Option<&str> {
        let of_sections = self.sections.iter().filter(|section| section.is_media()).flat_map(|s| &s.lines);
        of_sections.chain(&self.session).find_map(|line| attribute(line, name))
    }

    /// The media sections.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Every format of every section that is offered, each number once.
    pub fn payloads(&self) -> impl Iterator<Item = &Payload> {
        let mut seen = [false; 128];
        self.sections
            .iter()
            .filter(|section| section.is_media())
            .flat_map(|section| &section.payloads)
            .filter(move |payload| !std::mem::replace(&mut seen[usize::from(payload.number & 127)], true))
    }

    /// The number of a header extension.
    pub fn extension(&self, uri: &str) -> Option<u8> {
        let lines = self.sections.iter().flat_map(|section| &section.lines).chain(&self.session);
        lines.filter_map(|line| attribute(line, "extmap")).find_map(|value| {
            let (id, rest) = value.split_once(' ')?;
            let named = rest.split(' ').next()? == uri;
            named.then(|| id.split('/').next()?.parse().ok()).flatten()
        })
    }

    /// The ICE credentials of the offerer.
    pub fn credentials(&self) -> Option<(&str, &str)> {
        Some((self.value("ice-ufrag")?, self.value("ice-pwd")?))
    }

    /// The same offer with other ICE credentials (RFC 9725 section 4.3.3).
    #[must_use]
    pub fn restarted(&self, fragment: &str, password: &str) -> Self {
        let change = |line: &String| {
            if attribute(line, "ice-ufrag").is_some() {
                format!("a=ice-ufrag:{fragment}")
            } else if attribute(line, "ice-pwd").is_some() {
                format!("a=ice-pwd:{password}")
            } else {
                line.clone()
            }
        };
        let mut offer = self.clone();
        offer.session = offer.session.iter().map(change).collect();
        for section in &mut offer.sections {
            section.lines = section.lines.iter().map(change).collect();
        }
        offer
    }

    /// What the engine is told: known formats, no candidates, no data channels.
    pub fn to_engine(&self) -> String {
        let mut text = String::new();
        for line in &self.session {
            text.push_str(line);
            text.push_str("\r\n");
        }
        self.sections.iter().for_each(|section| section.write(&mut text));
        text
    }
}

impl Section {
    fn parse(lines: &[&str]) -> Option<Self> {
        let mut words = lines.first()?.strip_prefix("m=")?.split(' ');
        let kind = match words.next()? {
            "audio" => Kind::Audio,
            "video" => Kind::Video,
            _ => Kind::Other,
        };
        let port: u16 = words.next()?.split('/').next()?.parse().ok()?;
        let protocol = words.next()?.to_owned();
        let formats: Vec<&str> = words.collect();
        let first_format = (*formats.first()?).to_owned();
        let all = |name: &'static str| lines.iter().filter_map(move |line| attribute(line, name));
        let pair = |group: &str| {
            let (first, second) = group.strip_prefix("FID ")?.split_once(' ')?;
            Some((second.parse().ok()?, first.parse().ok()?))
        };
        let repairing: Vec<(u32, u32)> = all("ssrc-group").filter_map(pair).take(SOURCES_MAX).collect();
        let repairs: Vec<u32> = repairing.iter().map(|(repair, _)| *repair).collect();
        let mut sources: Vec<u32> = all("ssrc")
            .filter_map(|value| value.split(' ').next()?.parse().ok())
            .filter(|source| !repairs.contains(source))
            .collect();
        sources.dedup();
        sources.truncate(SOURCES_MAX);
        let payloads = formats.iter().filter_map(|format| payload(format, lines, kind)).take(PAYLOADS_MAX);
        let layers = all("rid").filter_map(|rid| rid.split_once(" send")).map(|(rid, _)| rid.to_owned());
        let payloads: Vec<_> = payloads.collect();
        let keeps = |line: &&&str| keeps(line, &payloads, &repairs);
        let repair = |format: &&str| repair(format, lines, &payloads);
        Some(Self {
            repairs: formats.iter().filter_map(repair).take(PAYLOADS_MAX).collect(),
            repairing,
            kind,
            direction: direction(lines),
            mid: all("mid").next().map(str::to_owned),
            layers: layers.take(LAYERS_MAX).collect(),
            sources,
            offered: port != 0 || all("bundle-only").next().is_some(),
            protocol,
            first_format,
            lines: lines[1..].iter().filter(keeps).map(|line| (*line).to_owned()).collect(),
            payloads,
        })
    }

    /// Whether it can be negotiated at all.
    pub fn is_media(&self) -> bool {
        self.offered && self.kind != Kind::Other && !self.payloads.is_empty()
    }

    /// The first format of its `m=` line, known or not.
    pub(super) fn first_format(&self) -> &str {
        &self.first_format
    }

    fn write(&self, text: &mut String) {
        let kind = match self.kind {
            Kind::Audio => "audio",
            Kind::Video => "video",
            Kind::Other => "application",
        };
        let protocol = &self.protocol;
        // Writing to a string cannot fail.
        if !self.is_media() {
            let _ = write!(text, "m={kind} 0 {protocol} {}\r\nc=IN IP4 0.0.0.0\r\n", self.first_format);
            if let Some(mid) = &self.mid {
                let _ = write!(text, "a=mid:{mid}\r\n");
            }
            text.push_str("a=inactive\r\n");
            return;
        }
        let _ = write!(text, "m={kind} 9 {protocol}");
        for payload in &self.payloads {
            let _ = write!(text, " {}", payload.number);
        }
        text.push_str("\r\n");
        for line in &self.lines {
            text.push_str(line);
            text.push_str("\r\n");
        }
    }
}

fn direction(lines: &[&str]) -> Direction {
    let find = |line: &&str| match *line {
        "a=sendonly" => Some(Direction::SendOnly),
        "a=recvonly" => Some(Direction::RecvOnly),
        "a=inactive" => Some(Direction::Inactive),
        _ => None,
    };
    lines.iter().find_map(find).unwrap_or(Direction::SendRecv)
}

/// The format of that number, if it is known.
fn payload(number: &str, lines: &[&str], kind: Kind) -> Option<Payload> {
    let value: u8 = number.parse().ok().filter(|value| *value < 128)?;
    let about = |name: &str| {
        lines.iter().find_map(|line| attribute(line, name)?.strip_prefix(number)?.strip_prefix(' '))
    };
    let mut parts = about("rtpmap")?.split('/');
    let codec = Codec::from_name(parts.next()?)?;
    let rate: u32 = parts.next()?.parse().ok()?;
    let fits = codec.is_video() == (kind == Kind::Video) && rate == codec.clock_rate();
    let parameters = about("fmtp").unwrap_or_default().to_owned();
    let channels = parts.next().and_then(|channels| channels.parse().ok()).unwrap_or_default();
    let format = Format::new(codec, &parameters);
    fits.then_some(Payload { number: value, format, parameters, channels })
}

/// The number of a format that repairs a known one, and the number of that.
fn repair(number: &str, lines: &[&str], payloads: &[Payload]) -> Option<(u8, u8)> {
    let about = |name: &str| {
        lines.iter().find_map(|line| attribute(line, name)?.strip_prefix(number)?.strip_prefix(' '))
    };
    if !about("rtpmap")?.eq_ignore_ascii_case("rtx/90000") {
        return None;
    }
    let repaired = about("fmtp")?.split(';').find_map(|part| part.trim().strip_prefix("apt="))?;
    let repaired: u8 = repaired.parse().ok()?;
    let known = payloads.iter().any(|payload| payload.number == repaired);
    Some((number.parse().ok().filter(|number| *number < 128)?, repaired)).filter(|_| known)
}

/// Whether the engine is told that line of a section.
fn keeps(line: &str, payloads: &[Payload], repairs: &[u32]) -> bool {
    if is_candidate(line) || attribute(line, "ssrc-group").is_some() {
        return false;
    }
    if let Some(value) = attribute(line, "ssrc") {
        let source = value.split(' ').next().and_then(|source| source.parse().ok());
        return source.is_some_and(|source| !repairs.contains(&source));
    }
    let numbered = ["rtpmap", "fmtp", "rtcp-fb"].iter().find_map(|name| attribute(line, name));
    let Some(number) = numbered.and_then(|value| value.split(' ').next()) else { return true };
    number == "*" || payloads.iter().any(|payload| payload.number.to_string() == number)
}

#[cfg(test)]
#[path = "offer_tests.rs"]
pub(crate) mod tests;
