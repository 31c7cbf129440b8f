//! Program tables (H.222.0 2.4.4): PAT and PMT.

use bytes::Bytes;

use super::crc::crc32;
use super::limits::{PAT_BYTES_MAX, PROGRAMS_MAX, STREAMS_MAX};

const TABLE_PAT: u8 = 0x00;
const TABLE_PMT: u8 = 0x02;

/// A section with the long header, its checksum verified.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    table: u8,
    /// transport_stream_id or program_number.
    id: u16,
    version: u8,
    current: bool,
    number: u8,
    last: u8,
    body: &'a [u8],
}

/// Where to find one program's PMT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PatEntry {
    pub(crate) program: u16,
    pub(crate) pmt_pid: u16,
}

/// A whole PAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pat {
    pub(crate) transport: u16,
    pub(crate) programs: Vec<PatEntry>,
}

/// One program map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pmt {
    pub(crate) program: u16,
    pub(crate) version: u8,
    pub(crate) pcr_pid: u16,
    /// Descriptor loop of the program.
    pub(crate) descriptors: Bytes,
    pub(crate) streams: Vec<PmtStream>,
}

/// One elementary stream of a program map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PmtStream {
    pub(crate) pid: u16,
    pub(crate) stream_type: u8,
    /// Descriptor loop of the stream.
    pub(crate) descriptors: Bytes,
}

impl<'a> Section<'a> {
    /// None when it is too short, has the short header or a wrong checksum.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[table, syntax, _, id_high, id_low, version, number, last], rest) =
            bytes.split_first_chunk()?;
        let body = rest.get(..rest.len().checked_sub(4)?)?;
        if syntax & 0x80 == 0 || crc32(bytes) != 0 {
            return None;
        }
        Some(Self {
            table,
            id: u16::from_be_bytes([id_high, id_low]),
            version: version >> 1 & 0x1f,
            current: version & 1 != 0,
            number,
            last,
            body,
        })
    }
}

/// Collects the sections of a PAT and tells when their content is new.
#[derive(Debug, Default)]
pub(crate) struct PatCollector {
    key: (u16, u8, u8),
    parts: Vec<Option<Vec<u8>>>,
    applied: Option<Pat>,
}

impl PatCollector {
    /// The PAT, when this section completes one that differs from the last.
    ///
    /// Compares content, not only versions: some encoders change tables without counting up.
    pub(crate) fn push(&mut self, section: &Section<'_>) -> Option<Pat> {
        if section.table != TABLE_PAT || !section.current || section.number > section.last {
            return None;
        }
        let key = (section.id, section.version, section.last);
        if self.key != key || self.parts.is_empty() {
            self.key = key;
            self.parts = vec![None; usize::from(section.last) + 1];
        }
        let held: usize = self.parts.iter().flatten().map(Vec::len).sum();
        if held + section.body.len() > PAT_BYTES_MAX {
            return None;
        }
        self.parts[usize::from(section.number)] = Some(section.body.to_vec());
        let mut programs = Vec::new();
        for part in &self.parts {
            programs.extend(part.as_ref()?.chunks_exact(4).filter_map(PatEntry::parse));
        }
        programs.truncate(PROGRAMS_MAX);
        let pat = Pat { transport: section.id, programs };
        if self.applied.as_ref() == Some(&pat) {
            return None;
        }
        self.applied = Some(pat.clone());
        Some(pat)
    }
}

impl PatEntry {
    /// None for program 0, which points to the network information.
    fn parse(entry: &[u8]) -> Option<Self> {
        let &[program_high, program_low, pid_high, pid_low] = entry else { return None };
        let program = u16::from_be_bytes([program_high, program_low]);
        let pmt_pid = u16::from_be_bytes([pid_high & 0x1f, pid_low]);
        (program != 0).then_some(Self { program, pmt_pid })
    }
}

impl Pmt {
    /// None when the section is no current PMT, or when its program descriptors leave it. A broken stream loop keeps
    /// the streams in front of the break.
    pub(crate) fn parse(section: &Section<'_>) -> Option<Self> {
        // A program map has exactly one section (2.4.4.9).
        if section.table != TABLE_PMT || !section.current || section.number != 0 {
            return None;
        }
        let (&[pcr_high, pcr_low, info_high, info_low], rest) = section.body.split_first_chunk()?;
        let info = usize::from(u16::from_be_bytes([info_high & 0x0f, info_low]));
        let (descriptors, mut rest) = rest.split_at_checked(info)?;
        let mut streams = Vec::new();
        while let Some((&[stream_type, pid_high, pid_low, info_high, info_low], tail)) =
            rest.split_first_chunk()
        {
            let info = usize::from(u16::from_be_bytes([info_high & 0x0f, info_low]));
            let Some((descriptors, tail)) = tail.split_at_checked(info) else { break };
            rest = tail;
            let pid = u16::from_be_bytes([pid_high & 0x1f, pid_low]);
            if streams.len() < STREAMS_MAX && streams.iter().all(|stream: &PmtStream| stream.pid != pid) {
                streams.push(PmtStream {
                    pid,
                    stream_type,
                    descriptors: Bytes::copy_from_slice(descriptors),
                });
            }
        }
        Some(Self {
            program: section.id,
            version: section.version,
            pcr_pid: u16::from_be_bytes([pcr_high & 0x1f, pcr_low]),
            descriptors: Bytes::copy_from_slice(descriptors),
            streams,
        })
    }
}

/// The descriptors of a loop as (tag, data); ends at the first one that leaves the loop.
pub(crate) fn descriptors(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[tag, length], rest) = bytes.split_first_chunk()?;
        let (data, rest) = rest.split_at_checked(usize::from(length))?;
        bytes = rest;
        Some((tag, data))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn sealed(mut section: Vec<u8>) -> Vec<u8> {
        let crc = crc32(&section);
        section.extend(crc.to_be_bytes());
        section
    }

    #[test]
    fn pat_of_ffmpeg() {
        let bytes = hex("00 b00d 0001 c1 00 00 0001 f000 2ab104b2");
        let section = Section::parse(&bytes).unwrap();
        let mut collector = PatCollector::default();
        let pat = collector.push(&section).unwrap();
        assert_eq!(pat, Pat { transport: 1, programs: vec![PatEntry { program: 1, pmt_pid: 0x1000 }] });
        assert!(collector.push(&section).is_none(), "unchanged");
    }

    #[test]
    fn pat_of_two_sections_in_either_order() {
        let part = |number: u8, program: u8| {
            sealed(vec![0, 0xb0, 13, 0, 1, 0xc3, number, 1, 0, program, 0xe1, program])
        };
        let mut collector = PatCollector::default();
        assert!(collector.push(&Section::parse(&part(1, 9)).unwrap()).is_none());
        let pat = collector.push(&Section::parse(&part(0, 8)).unwrap()).unwrap();
        assert_eq!(pat.programs.iter().map(|entry| entry.program).collect::<Vec<_>>(), [8, 9]);
        // Same version, other content.
        assert!(collector.push(&Section::parse(&part(1, 7)).unwrap()).is_some());
    }

    #[test]
    fn pmt_with_six_codecs() {
        let bytes =
            hex("02 b047 0001 c1 00 00 e100 f000 1b e100 f000 0f e101 f006 0a04656e6700 03 e102 f000 \
             81 e103 f006 050441432d33 87 e104 f006 050445414333 06 e105 f00a 05044f7075737f028002 a5ae5cba");
        let pmt = Pmt::parse(&Section::parse(&bytes).unwrap()).unwrap();
        assert_eq!((pmt.program, pmt.pcr_pid, pmt.descriptors.len()), (1, 0x100, 0));
        let types: Vec<_> = pmt.streams.iter().map(|stream| (stream.pid, stream.stream_type)).collect();
        assert_eq!(
            types,
            [(0x100, 0x1b), (0x101, 0x0f), (0x102, 3), (0x103, 0x81), (0x104, 0x87), (0x105, 6)]
        );
        let opus: Vec<_> = descriptors(&pmt.streams[5].descriptors).collect();
        assert_eq!(opus, [(0x05, &b"Opus"[..]), (0x7f, &[0x80, 2][..])]);
    }

    #[test]
    fn lengths_that_leave_the_section() {
        // program_info_length 100 in a section of 9 + 4 bytes.
        let bytes = sealed(vec![2, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 100]);
        assert!(Pmt::parse(&Section::parse(&bytes).unwrap()).is_none());
        // ES_info_length 100 of the second stream: the first stays.
        let mut bytes = vec![2, 0xb0, 23, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0];
        bytes.extend([0x1b, 0xe1, 0, 0xf0, 0, 0x0f, 0xe1, 1, 0xf0, 100]);
        let bytes = sealed(bytes);
        assert_eq!(Pmt::parse(&Section::parse(&bytes).unwrap()).unwrap().streams.len(), 1);
        assert_eq!(descriptors(&[5, 4, 1, 2]).count(), 0);
    }

    #[test]
    fn wrong_checksum_and_next_tables_are_no_tables() {
        let mut bytes = hex("00 b00d 0001 c1 00 00 0001 f000 2ab104b2");
        bytes[9] ^= 1;
        assert!(Section::parse(&bytes).is_none());
        let next = sealed(vec![0, 0xb0, 13, 0, 1, 0xc0, 0, 0, 0, 1, 0xf0, 0]);
        assert!(PatCollector::default().push(&Section::parse(&next).unwrap()).is_none());
    }
}
