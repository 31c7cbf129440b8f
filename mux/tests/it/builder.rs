//! Transport streams made by hand, packet by packet, and what an importer makes of them.

use std::collections::HashMap;

use moqgate_mux::event::{CodecConfig, Event, MediaFrame, Track, TrackId};
use moqgate_mux::ts::{ImportConfig, ImportStats, Importer, ProgramInfo};

/// Pids that the tests use.
pub(crate) const PMT: u16 = 0x1000;
pub(crate) const VIDEO: u16 = 0x100;
pub(crate) const AUDIO: u16 = 0x101;
pub(crate) const DATA: u16 = 0x102;

/// Open bytes that an importer may hold, as `limits.rs` has it.
const OPEN_BYTES_MAX: usize = 32 << 20;

/// Writes packets and counts continuity per pid.
#[derive(Default, Clone)]
pub(crate) struct Mux {
    pub(crate) bytes: Vec<u8>,
    counters: HashMap<u16, u8>,
}

/// Adaptation field of a packet.
#[derive(Default, Clone, Copy)]
pub(crate) struct Af {
    pub(crate) discontinuity: bool,
    pub(crate) random_access: bool,
    /// 90 kHz base.
    pub(crate) pcr: Option<u64>,
}

/// Header of a PES packet.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub(crate) stream_id: u8,
    pub(crate) pts: Option<u64>,
    pub(crate) dts: Option<u64>,
    /// Write the real length, or 0.
    pub(crate) bounded: bool,
    pub(crate) af: Af,
}

/// A header with only a PTS: video is unbounded, everything else has its length.
pub(crate) fn at(stream_id: u8, pts: u64) -> Head {
    Head { stream_id, pts: Some(pts), dts: None, bounded: stream_id != 0xe0, af: Af::default() }
}

pub(crate) fn without_time(stream_id: u8) -> Head {
    Head { pts: None, ..at(stream_id, 0) }
}

impl Mux {
    /// One program with these streams: (type, pid, descriptors).
    pub(crate) fn with_program(streams: &[(u8, u16, &[u8])]) -> Self {
        let mut mux = Self::default();
        mux.tables(streams);
        mux
    }

    pub(crate) fn tables(&mut self, streams: &[(u8, u16, &[u8])]) {
        self.section(0, &pat(0, &[(1, PMT)]));
        self.section(PMT, &pmt(0, 1, VIDEO, &[], streams));
    }

    /// Writes a section from the start of a packet.
    pub(crate) fn section(&mut self, pid: u16, section: &[u8]) {
        let mut payload = vec![0];
        payload.extend_from_slice(section);
        self.payloads(pid, &payload);
    }

    /// Writes packets of a table pid: the first with unit start, the last filled with FF.
    pub(crate) fn payloads(&mut self, pid: u16, payload: &[u8]) {
        for (index, chunk) in payload.chunks(184).enumerate() {
            let mut chunk = chunk.to_vec();
            chunk.resize(184, 0xff);
            self.packet(pid, index == 0, Af::default(), &chunk);
        }
    }

    pub(crate) fn pes(&mut self, pid: u16, head: Head, payload: &[u8]) {
        let bytes = pes(head, payload);
        let mut rest = &bytes[..];
        let mut start = true;
        while start || !rest.is_empty() {
            let af = if start { head.af } else { Af::default() };
            let room = 184 - af_bytes(af).len();
            let (chunk, tail) = rest.split_at(rest.len().min(room));
            self.packet(pid, start, af, chunk);
            rest = tail;
            start = false;
        }
    }

    /// A packet of PCR only.
    pub(crate) fn pcr(&mut self, pid: u16, base: u64, discontinuity: bool) {
        let counter = self.counters.get(&pid).map_or(0, |next| next.wrapping_sub(1) & 15);
        let mut bytes = vec![0x47, (pid >> 8) as u8, pid as u8, 0x20 | counter];
        let mut field = af_bytes(Af { discontinuity, pcr: Some(base), ..Af::default() });
        field.resize(184, 0xff);
        field[0] = 183;
        bytes.extend(field);
        self.bytes.extend(bytes);
    }

    /// One packet with payload, stuffed in the adaptation field.
    pub(crate) fn packet(&mut self, pid: u16, start: bool, af: Af, payload: &[u8]) {
        let counter = self.counters.entry(pid).or_default();
        let mut field = af_bytes(af);
        let missing = 184 - payload.len();
        if field.len() < missing {
            if field.is_empty() {
                field.push(0);
            }
            if field.len() < missing && field.len() == 1 {
                field.push(0);
            }
            field.resize(missing, 0xff);
            field[0] = (missing - 1) as u8;
        }
        let control = if field.is_empty() { 0x10 } else { 0x30 };
        let head = [0x47, u8::from(start) << 6 | (pid >> 8) as u8, pid as u8, control | *counter];
        *counter = (*counter + 1) & 15;
        self.bytes.extend(head);
        self.bytes.extend(field);
        self.bytes.extend(payload);
        assert_eq!(self.bytes.len() % 188, 0);
    }

    /// As if so many packets of the pid had been lost.
    pub(crate) fn lose(&mut self, pid: u16, packets: u8) {
        let counter = self.counters.entry(pid).or_default();
        *counter = (*counter + packets) & 15;
    }

    /// The last packet written.
    pub(crate) fn last(&self) -> Vec<u8> {
        self.bytes[self.bytes.len() - 188..].to_vec()
    }
}

fn af_bytes(af: Af) -> Vec<u8> {
    if !af.discontinuity && !af.random_access && af.pcr.is_none() {
        return Vec::new();
    }
    let flags =
        u8::from(af.discontinuity) << 7 | u8::from(af.random_access) << 6 | u8::from(af.pcr.is_some()) << 4;
    let mut bytes = vec![0, flags];
    if let Some(pcr) = af.pcr {
        let value = pcr << 15 | 0x7e00;
        bytes.extend(&value.to_be_bytes()[2..]);
    }
    bytes[0] = bytes.len() as u8 - 1;
    bytes
}

fn pes(head: Head, payload: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    if let Some(pts) = head.pts {
        fields.extend(timestamp(if head.dts.is_some() { 3 } else { 2 }, pts));
    }
    if let Some(dts) = head.dts {
        fields.extend(timestamp(1, dts));
    }
    let flags = u8::from(head.pts.is_some()) << 7 | u8::from(head.dts.is_some()) << 6;
    let length = if head.bounded { (3 + fields.len() + payload.len()) as u16 } else { 0 };
    let mut bytes = vec![0, 0, 1, head.stream_id];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0x84, flags, fields.len() as u8]);
    bytes.extend(fields);
    bytes.extend(payload);
    bytes
}

fn timestamp(prefix: u8, time: u64) -> [u8; 5] {
    let time = time % (1 << 33);
    [
        prefix << 4 | (time >> 29) as u8 & 0x0e | 1,
        (time >> 22) as u8,
        (time >> 14) as u8 | 1,
        (time >> 7) as u8,
        (time << 1) as u8 | 1,
    ]
}

pub(crate) fn pat(version: u8, programs: &[(u16, u16)]) -> Vec<u8> {
    let mut body = Vec::new();
    for &(program, pid) in programs {
        body.extend(program.to_be_bytes());
        body.extend((0xe000 | pid).to_be_bytes());
    }
    long_section(0, 1, version, &body)
}

pub(crate) fn pmt(version: u8, program: u16, pcr: u16, info: &[u8], streams: &[(u8, u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend((0xe000 | pcr).to_be_bytes());
    body.extend((0xf000 | info.len() as u16).to_be_bytes());
    body.extend(info);
    for (stream_type, pid, descriptors) in streams {
        body.push(*stream_type);
        body.extend((0xe000 | pid).to_be_bytes());
        body.extend((0xf000 | descriptors.len() as u16).to_be_bytes());
        body.extend(*descriptors);
    }
    long_section(2, program, version, &body)
}

fn long_section(table: u8, id: u16, version: u8, body: &[u8]) -> Vec<u8> {
    let mut section = vec![table];
    section.extend((0xb000 | (body.len() + 9) as u16).to_be_bytes());
    section.extend(id.to_be_bytes());
    section.extend([0xc1 | version << 1, 0, 0]);
    section.extend(body);
    seal(section)
}

/// Appends the checksum.
pub(crate) fn seal(mut section: Vec<u8>) -> Vec<u8> {
    let mut crc = u32::MAX;
    for &byte in &section {
        crc ^= u32::from(byte) << 24;
        for _ in 0..8 {
            crc = if crc >> 31 == 1 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 };
        }
    }
    section.extend(crc.to_be_bytes());
    section
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// What an importer gave for some bytes.
#[derive(Debug, PartialEq)]
pub(crate) struct Imported {
    pub(crate) events: Vec<Event>,
    pub(crate) stats: ImportStats,
    pub(crate) program: Option<ProgramInfo>,
}

pub(crate) fn import(bytes: &[u8]) -> Imported {
    import_with(ImportConfig::default(), bytes, 1316)
}

pub(crate) fn import_with(config: ImportConfig, bytes: &[u8], chunk: usize) -> Imported {
    let mut importer = Importer::new(config);
    let mut events = Vec::new();
    for piece in bytes.chunks(chunk) {
        importer.push(piece);
        events.extend(std::iter::from_fn(|| importer.poll()));
        assert!(importer.stats().open_bytes <= OPEN_BYTES_MAX);
    }
    importer.finish();
    events.extend(std::iter::from_fn(|| importer.poll()));
    Imported { events, stats: importer.stats(), program: importer.program() }
}

impl Imported {
    pub(crate) fn tracks(&self) -> Vec<&Track> {
        self.events
            .iter()
            .filter_map(|event| if let Event::Track(track) = event { Some(track) } else { None })
            .collect()
    }

    pub(crate) fn suffixes(&self) -> Vec<&'static str> {
        self.tracks().iter().map(|track| track.config.suffix()).collect()
    }

    /// Frames of every track that came from this pid.
    pub(crate) fn frames(&self, pid: u16) -> Vec<&MediaFrame> {
        let ids = self.ids(pid);
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Frame { track, frame } if ids.contains(track) => Some(frame),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn media(&self, pid: u16) -> Vec<&[u8]> {
        self.frames(pid).into_iter().map(MediaFrame::media).collect()
    }

    /// Decode times in 90 kHz ticks after the first of them.
    pub(crate) fn decode_ticks(&self, pid: u16) -> Vec<i64> {
        relative(self.frames(pid).into_iter().map(|frame| frame.dts.unwrap_or(frame.pts).as_micros()))
    }

    /// Display times in 90 kHz ticks after the first of them.
    pub(crate) fn display_ticks(&self, pid: u16) -> Vec<i64> {
        relative(self.frames(pid).into_iter().map(|frame| frame.pts.as_micros()))
    }

    pub(crate) fn configs(&self, pid: u16) -> Vec<&CodecConfig> {
        let ids = self.ids(pid);
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Track(track) if ids.contains(&track.id) => Some(&track.config),
                Event::Config { track, config } if ids.contains(track) => Some(config),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }

    pub(crate) fn discontinuities(&self) -> usize {
        self.count(|event| *event == Event::Discontinuity)
    }

    fn ids(&self, pid: u16) -> Vec<TrackId> {
        let from = |track: &&&Track| track.origin.as_ref().is_some_and(|origin| origin.pid == pid);
        self.tracks().iter().filter(from).map(|track| track.id).collect()
    }
}

fn relative(times: impl Iterator<Item = u64>) -> Vec<i64> {
    let ticks: Vec<i64> = times.map(|micros| (micros as i64 * 9 + 50) / 100).collect();
    ticks.iter().map(|time| time - ticks[0]).collect()
}
