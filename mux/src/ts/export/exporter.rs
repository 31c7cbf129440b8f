//! The exporter: frames of a broadcast in, datagrams of a transport stream out.

use bytes::Bytes;
use moqgate_core::Timestamp;

use super::super::splice;
use super::payload::{self, Adts};
use super::program::{self, Entry, PMT_PID, SDT_PID};
use super::writer::{Head, Writer};
use crate::catalog::Catalog;
use crate::event::VideoCodec;
use crate::export::{Coding, Lineup, Source, Unit, sources};

/// Where zero of the broadcast's time line lies: early enough for every decoding time and clock to be positive. 1 s.
const BASE: i64 = 90_000;

/// How long a unit lies in the receiver before it is decoded. Longer than tracks may lie apart, and than a large keyframe
/// takes to arrive. 0.4 s.
const DELAY: i64 = 36_000;

/// Time after which the next packet of any track brings the clock: 40 ms (DVB, ETSI TR 101 290). With a pair of audio frames
/// it comes after 83 ms at the latest, within the 100 ms of H.222.0 section 2.7.2.
const PCR_GAP: i64 = 3_600;

/// Longest time between two program maps: 100 ms.
const TABLES_GAP: i64 = 9_000;

/// The same for the service description: 1 s.
const SERVICE_GAP: i64 = 90_000;

/// A clock that steps back or ahead by more has jumped: 2 s.
const JUMP_MIN: i64 = 180_000;

/// Audio frames in one PES packet, if they are there: half of what their headers cost is saved, and two frames (43 ms at
/// 48 kHz) leave room for a clock between packets.
const BUNDLE_FRAMES_MAX: usize = 2;

/// The payload of a PES packet with a length of 16 bits.
const BOUNDED_BYTES_MAX: usize = 65_000;

/// How the stream describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportConfig {
    /// `transport_stream_id`.
    pub transport_stream: u16,
    /// `program_number`, not 0.
    pub program: u16,
    /// Name of the provider in the service description.
    pub provider: String,
    /// Name of the service there.
    pub service: String,
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self { transport_stream: 1, program: 1, provider: "moqgate".to_owned(), service: "live".to_owned() }
    }
}

/// Exports a broadcast as one program.
///
/// Give it the catalog whenever there is a new one ([`catalog`](Self::catalog)), read the tracks it names
/// ([`tracks`](Self::tracks)), and give it their frames in the order of each track. [`poll`](Self::poll) gives whole
/// packets, at most seven at once. The stream begins with a keyframe; sound waits for it.
#[derive(Debug)]
pub struct Exporter {
    config: ExportConfig,
    lineup: Lineup,
    program: Program,
    clocks: Clocks,
    writer: Writer,
}

/// What the tables say.
#[derive(Debug, Default)]
struct Program {
    /// In the order of the lineup's tracks.
    entries: Vec<Entry>,
    pcr_pid: u16,
    version: u8,
    /// Set by the first map.
    told: bool,
    /// Opus tracks whose first packet was written.
    trimmed: Vec<u16>,
}

/// When what was sent last, 90 kHz.
#[derive(Debug, Default)]
struct Clocks {
    pcr: Option<i64>,
    tables: Option<i64>,
    service: Option<i64>,
}

impl Exporter {
    /// An exporter that knows no tracks.
    pub fn new(config: ExportConfig) -> Self {
        Self {
            config,
            lineup: Lineup::default(),
            program: Program::default(),
            clocks: Clocks::default(),
            writer: Writer::default(),
        }
    }

    /// The broadcast has these tracks now. Leave out of `catalog` what the receiver shall not have. Codings that nobody
    /// reads in a transport stream (VP8, VP9, FLAC) and containers other than *legacy* are left out.
    pub fn catalog(&mut self, catalog: &Catalog) {
        let sources: Vec<Source> = sources(catalog).into_iter().filter(program::is_carried).collect();
        let entries = program::place(&sources, &self.program.entries);
        let kept = |source: &Source| entries.iter().any(|entry| entry.name == source.name);
        self.lineup.set(sources.into_iter().filter(kept).collect());
        if entries == self.program.entries {
            return;
        }
        let media = |entry: &&Entry| !matches!(entry.coding, Coding::Data { .. });
        let pcr = entries.iter().find(|entry| entry.is_video()).or_else(|| entries.iter().find(media));
        self.program.pcr_pid = pcr.or(entries.first()).map_or(0x1fff, |entry| entry.pid);
        self.program.version = if self.program.told { (self.program.version + 1) & 31 } else { 0 };
        self.program.entries = entries;
        self.clocks.tables = None;
    }

    /// Names of the tracks that it wants to be given.
    pub fn tracks(&self) -> impl Iterator<Item = &str> {
        self.lineup.sources().map(|source| source.name.as_str())
    }

    /// Takes the next frame of a track: its presentation time, whether it is the first of its group, and its *legacy*
    /// payload. Frames of other tracks are left out.
    pub fn push(&mut self, track: &str, timestamp: Timestamp, keyframe: bool, payload: &Bytes) {
        self.lineup.push(track, timestamp, keyframe, payload);
        self.drain();
    }

    /// The next packets, at most seven. Take all of them after every other call.
    pub fn poll(&mut self) -> Option<Bytes> {
        self.writer.poll()
    }

    /// The broadcast is over: gives out what still waited for other tracks.
    pub fn finish(&mut self) {
        self.lineup.finish();
        self.drain();
        self.writer.flush();
    }

    fn drain(&mut self) {
        let mut picture = false;
        while let Some((index, unit)) = self.lineup.pop() {
            picture |= self.unit(index, unit);
        }
        // Sound waits for the next picture to fill a datagram, unless it is alone.
        let alone = !self.program.entries.iter().any(Entry::is_video);
        if picture || alone {
            self.writer.flush();
        }
    }

    /// Writes a unit; tells whether it was a picture.
    fn unit(&mut self, index: usize, unit: Unit) -> bool {
        let Some(entry) = self.program.entries.get(index) else { return false };
        let (pid, is_video) = (entry.pid, entry.is_video());
        let dts = ticks(unit.dts);
        let clock = dts - DELAY;
        let discontinuity = self.jump(clock);
        self.tables(clock, is_video && unit.keyframe);
        let due = self.clocks.pcr.is_none_or(|last| clock - last >= PCR_GAP);
        let pcr = if discontinuity || due || pid == self.program.pcr_pid {
            let pcr = self.clocks.pcr.map_or(clock, |last| clock.max(last + 1));
            self.clocks.pcr = Some(pcr);
            Some(wrap(pcr))
        } else {
            None
        };
        let own = pid == self.program.pcr_pid && !self.program.entries[index].is_section();
        if let Some(pcr) = pcr.filter(|_| !own) {
            self.writer.pcr(self.program.pcr_pid, pcr, discontinuity);
        }
        let entry = &self.program.entries[index];
        let pts = ticks(unit.pts);
        let head = Head {
            pid,
            stream_id: entry.stream_id,
            pts: Some(wrap(pts)),
            dts: (pts != dts).then(|| wrap(dts)),
            bounded: !is_video && unit.data.len() <= BOUNDED_BYTES_MAX,
            random_access: unit.keyframe,
            discontinuity: discontinuity && own,
            pcr: pcr.filter(|_| own),
        };
        self.write(index, head, unit);
        is_video
    }

    /// Whether the clock goes on somewhere else; then tables and clocks are due again.
    fn jump(&mut self, clock: i64) -> bool {
        let jumped =
            self.clocks.pcr.is_some_and(|last| clock < last - JUMP_MIN || clock > last + 5 * JUMP_MIN);
        if jumped {
            self.clocks = Clocks::default();
        }
        jumped
    }

    fn tables(&mut self, clock: i64, join: bool) {
        let due = |last: Option<i64>, gap| last.is_none_or(|last| clock - last >= gap);
        if join || due(self.clocks.tables, TABLES_GAP) {
            let ExportConfig { transport_stream, program, .. } = self.config;
            self.writer.section(0, &program::pat(transport_stream, program));
            let map =
                program::pmt(program, self.program.version, self.program.pcr_pid, &self.program.entries);
            self.writer.section(PMT_PID, &map);
            self.program.told = true;
            self.clocks.tables = Some(clock);
        }
        if due(self.clocks.service, SERVICE_GAP) {
            let config = &self.config;
            let table =
                program::sdt(config.transport_stream, config.program, &config.provider, &config.service);
            self.writer.section(SDT_PID, &table);
            self.clocks.service = Some(clock);
        }
    }

    fn write(&mut self, index: usize, head: Head, unit: Unit) {
        let Self { program, writer, lineup, .. } = self;
        let entry = &program.entries[index];
        let data = &unit.data[..];
        match &entry.coding {
            Coding::Video(video) if video.codec == VideoCodec::Av1 => {
                writer.pes(&head, &[&payload::av1_start_codes(data)]);
            }
            Coding::Video(video) => writer.pes(&head, &[payload::delimiter(video.codec, data), data]),
            Coding::Aac { config } => {
                if let Some(adts) = Adts::new(config) {
                    write_adts(writer, lineup, index, &adts, &head, unit);
                }
            }
            Coding::Opus { head: opus, .. } => {
                let first = !program.trimmed.contains(&head.pid);
                let trim = payload::opus_trim(opus.as_deref()).filter(|_| first);
                if first {
                    program.trimmed.push(head.pid);
                }
                writer.pes(&head, &[&payload::opus_control(data.len(), trim), data]);
            }
            Coding::Data { .. } if entry.is_section() => {
                let mut section = data.to_vec();
                if entry.is_splice() {
                    splice::restamp(&mut section, BASE.unsigned_abs());
                }
                writer.section(head.pid, &section);
            }
            Coding::Mp3 { .. }
            | Coding::Mp2
            | Coding::Ac3
            | Coding::Eac3
            | Coding::Flac { .. }
            | Coding::Data { .. } => writer.pes(&head, &[data]),
        }
    }
}

/// Writes an AAC frame and those that follow it without a gap and are already there.
fn write_adts(writer: &mut Writer, lineup: &mut Lineup, index: usize, adts: &Adts, head: &Head, unit: Unit) {
    const FRAME_SAMPLES: i64 = 1024;
    let frame = FRAME_SAMPLES * 1_000_000 / i64::from(adts.rate());
    let mut next = unit.pts + frame;
    let mut units = vec![unit];
    while units.len() < BUNDLE_FRAMES_MAX
        && lineup.peek(index).is_some_and(|unit| (unit.pts - next).abs() < frame / 4)
    {
        let Some(unit) = lineup.take(index) else { break };
        next = unit.pts + frame;
        units.push(unit);
    }
    let headers: Vec<_> = units.iter().filter_map(|unit| adts.header(unit.data.len())).collect();
    if headers.len() < units.len() {
        return; // Longer than ADTS can say, which no encoder makes.
    }
    let pieces: Vec<&[u8]> =
        headers.iter().zip(&units).flat_map(|(header, unit)| [&header[..], &unit.data[..]]).collect();
    writer.pes(head, &pieces);
}

/// 90 kHz from microseconds of the time line.
fn ticks(micros: i64) -> i64 {
    (micros * 9 + 50).div_euclid(100) + BASE
}

/// The number of bits does not matter to the writer, the sign does.
fn wrap(ticks: i64) -> u64 {
    ticks.rem_euclid(1 << 33).unsigned_abs()
}
