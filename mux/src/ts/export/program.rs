//! The program: which pid a track has, and the tables that say so.

use super::super::crc::crc32;
use super::payload::{Adts, opus_extension};
use crate::catalog::{Descriptor, Framing};
use crate::event::VideoCodec;
use crate::export::{Coding, Source};

/// Pid of the program map.
pub(super) const PMT_PID: u16 = 0x1000;

/// Pid of the service description table.
pub(super) const SDT_PID: u16 = 0x11;

/// Where pids of tracks begin that bring none.
const FIRST_PID: u16 = 0x100;

/// Pids that any stream may have (H.222.0 table 2-3, and those of DVB below).
const PIDS: std::ops::RangeInclusive<u16> = 0x20..=0x1ffe;

/// Longest program map: 12 bits of length, of which 1021 may be used.
const SECTION_BODY_MAX: usize = 1021 - 9;

const REGISTRATION: u8 = 0x05;
const LANGUAGE: u8 = 0x0a;
const MAXIMUM_BITRATE: u8 = 0x0e;
const STREAM_IDENTIFIER: u8 = 0x52;
const STREAM_TYPE_SPLICE: u8 = 0x86;

/// A track with its place in the stream.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) coding: Coding,
    pub(super) pid: u16,
    pub(super) stream_type: u8,
    pub(super) stream_id: u8,
    descriptors: Vec<u8>,
}

impl Entry {
    pub(super) fn is_video(&self) -> bool {
        matches!(self.coding, Coding::Video(_))
    }

    pub(super) fn is_section(&self) -> bool {
        matches!(self.coding, Coding::Data { framing: Framing::Section, .. })
    }

    pub(super) fn is_splice(&self) -> bool {
        self.stream_type == STREAM_TYPE_SPLICE
    }
}

/// Whether a transport stream can carry the coding so that anybody reads it.
pub(super) fn is_carried(source: &Source) -> bool {
    match &source.coding {
        Coding::Video(video) => {
            matches!(video.codec, VideoCodec::H264 | VideoCodec::H265 | VideoCodec::Av1)
        }
        Coding::Flac { .. } => false,
        Coding::Aac { config } => Adts::new(config).is_some(),
        Coding::Opus { .. }
        | Coding::Mp3 { .. }
        | Coding::Mp2
        | Coding::Ac3
        | Coding::Eac3
        | Coding::Data { .. } => true,
    }
}

/// Gives every track a pid: the one it had, else that of the last map, else a free one.
pub(super) fn place(sources: &[Source], before: &[Entry]) -> Vec<Entry> {
    let mut taken = vec![PMT_PID];
    let mut places: Vec<Option<u16>> = Vec::new();
    for source in sources {
        let (stream_type, _) = stream(source);
        let same = |entry: &&Entry| entry.name == source.name && entry.stream_type == stream_type;
        let had = before.iter().find(same);
        let wanted = had.map(|entry| entry.pid).or(source.origin.as_ref().map(|origin| origin.pid));
        let pid = wanted.filter(|pid| PIDS.contains(pid) && !taken.contains(pid));
        taken.extend(pid);
        places.push(pid);
    }
    // A pid that another coding had a moment ago is not used again.
    taken.extend(before.iter().map(|entry| entry.pid));
    let mut free = (FIRST_PID..PMT_PID).filter(|pid| !taken.contains(pid));
    let mut entries = Vec::new();
    for (source, place) in sources.iter().zip(places) {
        let Some(pid) = place.or_else(|| free.next()) else { continue };
        let (stream_type, stream_id) = stream(source);
        let descriptors = descriptors(source);
        let (name, coding) = (source.name.clone(), source.coding.clone());
        entries.push(Entry { name, coding, pid, stream_type, stream_id, descriptors });
    }
    entries
}

/// stream_type and stream_id of a track.
fn stream(source: &Source) -> (u8, u8) {
    const PRIVATE: u8 = 0xbd;
    const AUDIO: u8 = 0xc0;
    const VIDEO: u8 = 0xe0;
    const METADATA: u8 = 0xfc;
    let origin = source.origin.as_ref().and_then(|origin| origin.verbatim.as_ref());
    let declared = origin.map(|verbatim| verbatim.stream_type);
    match &source.coding {
        Coding::Video(video) => match video.codec {
            VideoCodec::H265 => (0x24, VIDEO),
            VideoCodec::Av1 => (0x06, PRIVATE),
            VideoCodec::H264 | VideoCodec::Vp9 | VideoCodec::Vp8 => (0x1b, VIDEO),
        },
        Coding::Aac { .. } => (0x0f, AUDIO),
        Coding::Opus { .. } | Coding::Flac { .. } => (0x06, PRIVATE),
        // The second type is that of the low sampling rates.
        Coding::Mp3 { rate, .. } => (if *rate < 32_000 { 0x04 } else { 0x03 }, AUDIO),
        Coding::Mp2 => (declared.unwrap_or(0x03), AUDIO),
        Coding::Ac3 => (declared.unwrap_or(0x81), PRIVATE),
        Coding::Eac3 => (declared.unwrap_or(0x87), PRIVATE),
        Coding::Data { stream_type, .. } => {
            let stream_id = match stream_type {
                0x01 | 0x02 | 0x10 | 0x20..=0x23 | 0x25 | 0x33 | 0xd1 => VIDEO,
                0xea => 0xfd,
                0x15 if is_klv(source) => METADATA,
                _ => PRIVATE,
            };
            (*stream_type, stream_id)
        }
    }
}

fn is_klv(source: &Source) -> bool {
    source.origin.as_ref().and_then(|origin| origin.codec.as_deref()) == Some("klvs")
}

/// The ES descriptor loop: verbatim for what is carried verbatim; else what describes the track and not its old coding,
/// and what its coding needs.
fn descriptors(source: &Source) -> Vec<u8> {
    let before: &[Descriptor] = source.origin.as_ref().map_or(&[], |origin| &origin.descriptors);
    let verbatim = source.origin.as_ref().is_some_and(|origin| origin.verbatim.is_some());
    let general = |tag| matches!(tag, LANGUAGE | MAXIMUM_BITRATE | STREAM_IDENTIFIER);
    let mut list = Vec::new();
    if !verbatim {
        needed(source, &mut list);
    }
    for descriptor in before.iter().filter(|descriptor| verbatim || general(descriptor.tag)) {
        push(&mut list, descriptor.tag, &descriptor.data);
    }
    list
}

fn needed(source: &Source, list: &mut Vec<u8>) {
    match &source.coding {
        Coding::Video(video) => match video.codec {
            VideoCodec::H265 => push(list, REGISTRATION, b"HEVC"),
            VideoCodec::Av1 => push(list, REGISTRATION, b"AV01"),
            VideoCodec::H264 | VideoCodec::Vp9 | VideoCodec::Vp8 => {}
        },
        Coding::Opus { head, channels } => {
            push(list, REGISTRATION, b"Opus");
            push(list, 0x7f, &opus_extension(head.as_deref(), *channels));
        }
        Coding::Ac3 => push(list, REGISTRATION, b"AC-3"),
        Coding::Eac3 => push(list, REGISTRATION, b"EAC3"),
        Coding::Aac { .. } | Coding::Mp3 { .. } | Coding::Mp2 | Coding::Flac { .. } | Coding::Data { .. } => {
        }
    }
}

fn push(list: &mut Vec<u8>, tag: u8, data: &[u8]) {
    if let Ok(length) = u8::try_from(data.len()) {
        list.extend([tag, length]);
        list.extend_from_slice(data);
    }
}

/// Program association section: one program.
pub(super) fn pat(transport_stream: u16, program: u16) -> Vec<u8> {
    let mut body = program.to_be_bytes().to_vec();
    body.extend((0xe000 | PMT_PID).to_be_bytes());
    section(0x00, 0xb000, transport_stream, 0, &body)
}

/// Program map section. What does not fit is left out from its end.
pub(super) fn pmt(program: u16, version: u8, pcr_pid: u16, entries: &[Entry]) -> Vec<u8> {
    let mut body = (0xe000 | pcr_pid).to_be_bytes().to_vec();
    let mut info = Vec::new();
    if entries.iter().any(Entry::is_splice) {
        push(&mut info, REGISTRATION, b"CUEI");
    }
    body.extend((0xf000 | u16::try_from(info.len()).unwrap_or_default()).to_be_bytes());
    body.extend(info);
    for entry in entries {
        let length = u16::try_from(entry.descriptors.len()).unwrap_or(u16::MAX);
        if body.len() + 5 + usize::from(length) > SECTION_BODY_MAX {
            break;
        }
        body.push(entry.stream_type);
        body.extend((0xe000 | entry.pid).to_be_bytes());
        body.extend((0xf000 | length).to_be_bytes());
        body.extend_from_slice(&entry.descriptors);
    }
    section(0x02, 0xb000, program, version, &body)
}

/// Service description section (ETSI EN 300 468 section 5.2.3): some receivers show names only from it.
pub(super) fn sdt(transport_stream: u16, program: u16, provider: &str, service: &str) -> Vec<u8> {
    const SERVICE_DESCRIPTOR: u8 = 0x48;
    const DIGITAL_TELEVISION: u8 = 1;
    const NAME_BYTES_MAX: usize = 100;
    let mut names = vec![DIGITAL_TELEVISION];
    for name in [provider, service] {
        let mut end = name.len().min(NAME_BYTES_MAX);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        names.push(u8::try_from(end).unwrap_or_default());
        names.extend_from_slice(&name.as_bytes()[..end]);
    }
    let mut descriptors = Vec::new();
    push(&mut descriptors, SERVICE_DESCRIPTOR, &names);
    let mut body = vec![0xff, 0x01, 0xff];
    body.extend(program.to_be_bytes());
    body.push(0xfc);
    body.extend((0x8000 | u16::try_from(descriptors.len()).unwrap_or_default()).to_be_bytes());
    body.extend(descriptors);
    section(0x42, 0xf000, transport_stream, 0, &body)
}

fn section(table: u8, flags: u16, id: u16, version: u8, body: &[u8]) -> Vec<u8> {
    let mut section = vec![table];
    section.extend((flags | u16::try_from(body.len() + 9).unwrap_or_default()).to_be_bytes());
    section.extend(id.to_be_bytes());
    section.extend([0xc1 | (version & 31) << 1, 0, 0]);
    section.extend_from_slice(body);
    section.extend(crc32(&section).to_be_bytes());
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn source(name: &str, coding: Coding) -> Source {
        Source { name: name.to_owned(), coding, origin: None }
    }

    #[test]
    fn tables_like_those_of_ffmpeg() {
        assert_eq!(hex(&pat(1, 1)), "00b00d0001c100000001f0002ab104b2");
        let sdt = hex(&sdt(1, 1, "FFmpeg", "Service01"));
        assert_eq!(sdt, "42f0250001c10000ff01ff0001fc80144812010646466d70656709536572766963653031777c43ca");
    }

    #[test]
    fn a_map_of_generated_entries() {
        let sources = [
            source("a", Coding::Aac { config: Bytes::new() }),
            source("b", Coding::Mp2),
            source("c", Coding::Ac3),
            source("d", Coding::Eac3),
            source("e", Coding::Opus { head: None, channels: 2 }),
        ];
        let entries = place(&sources, &[]);
        let map = hex(&pmt(1, 0, 0x100, &entries));
        let expected = "02b03c0001c10000e100f000 0fe100f000 03e101f000 81e102f006050441432d33 87e103f006050445414333 \
             06e104f00a05044f7075737f028002";
        let expected: String = expected.split_whitespace().collect();
        assert_eq!(map[..map.len() - 8], expected);
        assert_eq!(crc32(&pmt(1, 0, 0x100, &entries)), 0);
    }

    #[test]
    fn pids_stay_and_are_not_used_again() {
        let aac = |config: &'static [u8]| Coding::Aac { config: Bytes::from_static(config) };
        let before = place(&[source("a", aac(b"1")), source("b", aac(b"1"))], &[]);
        let after = place(&[source("b", aac(b"2")), source("a", Coding::Mp2)], &before);
        let pids: Vec<_> = after.iter().map(|entry| (entry.name.as_str(), entry.pid)).collect();
        assert_eq!(pids, [("b", 0x101), ("a", 0x102)], "other parameters are no other coding");
    }
}
