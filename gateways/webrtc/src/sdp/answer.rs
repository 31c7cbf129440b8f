//! What goes back to a peer.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::{Offer, Section, attribute, is_candidate};

/// How a candidate is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection that the remote opens (RFC 6544).
    Tcp,
}

/// Where a peer can check us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The address.
    pub address: SocketAddr,
    /// How.
    pub transport: Transport,
}

impl Candidate {
    /// The candidate as it stands in a description, the `rank`th best of its kind.
    fn line(self, rank: usize) -> String {
        /// Type preference of host candidates (RFC 8445 section 5.1.2.2).
        const HOST: u32 = 126 << 24;
        let local = 65_535u32.saturating_sub(u32::try_from(rank).unwrap_or(u32::MAX));
        let (name, local, end) = match self.transport {
            Transport::Udp => ("udp", local, ""),
            // Direction preference of passive candidates (RFC 6544 section 4.2), below every UDP one.
            Transport::Tcp => ("tcp", 4 << 13 | local & 0x1fff, " tcptype passive"),
        };
        let priority = HOST | local << 8 | 255;
        let (ip, port) = (self.address.ip(), self.address.port());
        format!("a=candidate:{} 1 {name} {priority} {ip} {port} typ host{end}", rank + 1)
    }
}

/// Makes the engine's answer what the peer can use: with our candidates in the first section that is accepted, with a
/// format in every section that is not (browsers drop an answer without), and stereo allowed. Where we receive pictures,
/// what is lost may be sent again in a format of its own, which the engine is not told of.
pub fn finish(answer: &str, offer: &Offer, candidates: &[Candidate]) -> String {
    let mut text = String::new();
    let mut told = false;
    // What stands at the end of the section at hand.
    let mut end = String::new();
    let mut sections = offer.sections().iter();
    // Writing to a string cannot fail.
    for line in answer.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if is_candidate(line) {
            continue;
        }
        if !line.starts_with("m=") {
            text.push_str(line);
            if is_opus_format(line, answer) && !line.contains("stereo=") {
                text.push_str(";stereo=1;sprop-stereo=1");
            }
            text.push_str("\r\n");
            continue;
        }
        text.push_str(&std::mem::take(&mut end));
        text.push_str(line);
        let refused = line.split(' ').nth(1) == Some("0");
        let section = sections.next();
        if let Some(offered) = section.filter(|_| refused) {
            if line.split(' ').nth(3).is_none_or(str::is_empty) {
                let _ = write!(text, " {}", offered.first_format());
            }
        } else if let Some(offered) = section.filter(|section| section.direction.sends()) {
            for (number, repaired) in repairs(line, offered) {
                let _ = write!(text, " {number}");
                let _ = write!(end, "a=rtpmap:{number} rtx/90000\r\na=fmtp:{number} apt={repaired}\r\n");
            }
        }
        text.push_str("\r\n");
        if !refused && !std::mem::replace(&mut told, true) {
            for (rank, candidate) in candidates.iter().enumerate() {
                let _ = write!(end, "{}\r\n", candidate.line(rank));
            }
            end.push_str("a=end-of-candidates\r\n");
        }
    }
    text + &end
}

/// The formats that repair what an accepted section of the answer lists.
fn repairs<'a>(line: &'a str, offered: &'a Section) -> impl Iterator<Item = (u8, u8)> + 'a {
    let is_listed = move |number: u8| line.split(' ').skip(3).any(|listed| listed.parse() == Ok(number));
    let repairs = offered.repairs.iter().copied();
    repairs.filter(move |(number, repaired)| is_listed(*repaired) && !is_listed(*number))
}

/// Whether the line holds the parameters of Opus.
fn is_opus_format(line: &str, answer: &str) -> bool {
    let Some(number) = attribute(line, "fmtp").and_then(|value| value.split(' ').next()) else {
        return false;
    };
    answer.lines().any(|line| {
        let map = attribute(line, "rtpmap").and_then(|value| value.split_once(' '));
        map.is_some_and(|(mapped, name)| mapped == number && name.to_ascii_lowercase().starts_with("opus/"))
    })
}

/// A fragment with our credentials and candidates, for a peer that restarts ICE (RFC 8840, RFC 9725 section 4.3.3).
pub(super) fn fragment(answer: &str, candidates: &[Candidate]) -> Option<String> {
    let value = |name| answer.lines().find_map(|line| attribute(line.trim_end(), name));
    let (fragment, password) = (value("ice-ufrag")?, value("ice-pwd")?);
    let section =
        answer.lines().find(|line| line.starts_with("m=") && line.split(' ').nth(1) != Some("0"))?;
    let mut text = format!("a=ice-lite\r\na=ice-ufrag:{fragment}\r\na=ice-pwd:{password}\r\n");
    let _ = write!(text, "{}\r\na=mid:{}\r\n", section.trim_end(), value("mid")?);
    for (rank, candidate) in candidates.iter().enumerate() {
        let _ = write!(text, "{}\r\n", candidate.line(rank));
    }
    text.push_str("a=end-of-candidates\r\n");
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::offer::tests::{chromium, section};

    #[test]
    fn line_67_a_refused_section_keeps_a_format() {
        let offer = Offer::parse(&chromium(&[section("audio"), section("video")])).expect("an offer");
        let answer = "v=0\r\nm=audio 0 UDP/TLS/RTP/SAVPF\r\na=mid:0\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\n\
                      a=candidate:1 1 udp 1 127.0.0.1 40000 typ host\r\na=mid:1\r\n";
        let candidate = Candidate { address: ([192, 0, 2, 1], 8189).into(), transport: Transport::Udp };
        let text = finish(answer, &offer, &[candidate]);
        assert!(text.contains("m=audio 0 UDP/TLS/RTP/SAVPF 111\r\n"), "{text}");
        let candidates: Vec<_> = text.lines().filter(|line| line.starts_with("a=candidate")).collect();
        assert_eq!(candidates, ["a=candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host"], "{text}");
        assert!(text.ends_with("typ host\r\na=end-of-candidates\r\n"), "{text}");
    }

    #[test]
    fn pictures_may_be_sent_again_in_a_format_of_their_own() {
        let offer = Offer::parse(&chromium(&[section("video")])).expect("an offer");
        let [video] = offer.sections() else { panic!("one section") };
        assert_eq!((&video.repairs[..], &video.repairing[..]), (&[(97, 96)][..], &[(2, 1)][..]));
        let answer =
            |formats: &str| format!("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF {formats}\r\na=mid:video\r\n");
        let text = finish(&answer("96 102"), &offer, &[]);
        assert_eq!(
            text,
            "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 102 97\r\na=mid:video\r\na=rtpmap:97 rtx/90000\r\n\
             a=fmtp:97 apt=96\r\na=end-of-candidates\r\n"
        );
        assert!(!finish(&answer("102"), &offer, &[]).contains("rtx"), "nobody needs it");
        let watching = chromium(&[section("video").replace("sendonly", "recvonly")]);
        let offer = Offer::parse(&watching).expect("an offer");
        assert!(!finish(&answer("96 102"), &offer, &[]).contains("rtx"), "it is us who send");
    }

    #[test]
    fn line_64_stereo_is_allowed() {
        let offer = Offer::parse(&chromium(&[section("audio")])).expect("an offer");
        let answer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n\
                      a=fmtp:111 minptime=10;useinbandfec=1\r\n";
        let text = finish(answer, &offer, &[]);
        assert!(text.contains("a=fmtp:111 minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1\r\n"), "{text}");
    }

    #[test]
    fn udp_is_preferred_to_tcp() {
        let at = |transport| Candidate { address: ([192, 0, 2, 1], 8189).into(), transport };
        let priority = |candidate: Candidate, rank| {
            candidate.line(rank).split(' ').nth(3).and_then(|text| text.parse::<u32>().ok())
        };
        assert!(priority(at(Transport::Udp), 9) > priority(at(Transport::Tcp), 0));
        assert!(at(Transport::Tcp).line(0).ends_with("typ host tcptype passive"));
    }
}
