//! Packets of one multiplex in; program maps, PES packets, sections and clock references of one program out.

use std::collections::VecDeque;

use super::ImportStats;
use super::continuity::Step;
use super::crc::crc32;
use super::kind::{Carriage, StreamKind};
use super::limits::{OPEN_BYTES_MAX, VIDEO_STREAMS_MAX};
use super::packet::{NULL_PID, PACKET_BYTES, Packet};
use super::pes::{Assembler, Class, Fault, Pes};
use super::programs::{PatChange, ProgramChoice, ProgramInfo, Programs};
use super::psi::{Pmt, PmtStream, Section};
use super::section::Sections;
use super::slots::{Content, Slots};

/// First pid that belongs to a program; below are the tables of the multiplex (EN 300 468 table 1).
const FIRST_PROGRAM_PID: u16 = 0x20;

/// What the demultiplexer found.
#[derive(Debug)]
pub(crate) enum Demuxed {
    /// The streams of the program changed. Units of removed streams come before it.
    Program {
        removed: Vec<u16>,
        added: Vec<Added>,
    },
    /// Something that cannot be followed.
    Refused {
        reason: &'static str,
    },
    Pes(Pes),
    /// A whole section of a data pid; its checksum, where it has one, is right.
    Section {
        pid: u16,
        bytes: Vec<u8>,
    },
    /// A clock reference of the program: its 90 kHz base.
    Pcr {
        base: u64,
        discontinuity: bool,
    },
    /// The next timestamps may belong to another clock.
    ClockHint,
}

/// A stream that is new, or carries something new.
#[derive(Debug)]
pub(crate) struct Added {
    pub(crate) stream: PmtStream,
    pub(crate) kind: StreamKind,
}

/// The demultiplexer of one input.
#[derive(Debug)]
pub(crate) struct Demux {
    slots: Slots,
    programs: Programs,
    /// The streams that are followed, and as what.
    followed: Vec<(u16, StreamKind)>,
    pcr_pid: u16,
    held: usize,
    out: VecDeque<Demuxed>,
    pub(crate) stats: ImportStats,
}

impl Demux {
    pub(crate) fn new(choice: ProgramChoice) -> Self {
        Self {
            slots: Slots::new(),
            programs: Programs::new(choice),
            followed: Vec::new(),
            pcr_pid: NULL_PID,
            held: 0,
            out: VecDeque::new(),
            stats: ImportStats::default(),
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8; PACKET_BYTES]) {
        self.stats.packets += 1;
        let Some(packet) = Packet::parse(bytes) else {
            self.stats.malformed_packets += 1;
            return;
        };
        if packet.error {
            self.stats.transport_errors += 1;
            self.stats.last_problem = Some("transport_error");
            return;
        }
        if packet.pid == NULL_PID {
            return;
        }
        if packet.pid == self.pcr_pid {
            self.read_clock(&packet);
        }
        if let Some(payload) = packet.payload {
            self.read_payload(&packet, payload);
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Demuxed> {
        self.out.pop_front()
    }

    /// The program that is followed.
    pub(crate) fn program(&self) -> Option<ProgramInfo> {
        self.programs.info()
    }

    /// Bytes of units that are not complete.
    pub(crate) fn open_bytes(&self) -> usize {
        self.held
    }

    /// The input is over: gives out what is open.
    pub(crate) fn finish(&mut self) {
        for slot in self.slots.iter_mut() {
            if let Content::Pes(assembler) = &mut slot.content {
                let outcome = assembler.finish_input(&mut |pes| self.out.push_back(Demuxed::Pes(pes)));
                count(&mut self.stats, outcome);
            }
        }
        self.held = 0;
    }

    /// Gives out the unit that `pid` has open, because nothing follows it.
    pub(crate) fn finish_idle(&mut self, pid: u16) {
        if let Some(assembler) = assembler(&mut self.slots, pid) {
            self.held -= assembler.held().min(self.held);
            let outcome = assembler.finish_idle(&mut |pes| self.out.push_back(Demuxed::Pes(pes)));
            count(&mut self.stats, outcome);
        }
    }

    /// See [`Assembler::progress`].
    pub(crate) fn progress(&mut self, pid: u16) -> Option<u64> {
        assembler(&mut self.slots, pid)?.progress()
    }

    /// See [`Assembler::looks_unfinished`].
    pub(crate) fn looks_unfinished(&mut self, pid: u16) -> bool {
        assembler(&mut self.slots, pid).is_some_and(|assembler| assembler.looks_unfinished())
    }

    /// See [`Assembler::looks_complete`].
    pub(crate) fn looks_complete(&mut self, pid: u16) -> bool {
        assembler(&mut self.slots, pid).is_some_and(|assembler| assembler.looks_complete())
    }

    /// Takes the buffer of a PES back.
    pub(crate) fn recycle(&mut self, pid: u16, buffer: Vec<u8>) {
        if let Some(assembler) = assembler(&mut self.slots, pid) {
            assembler.recycle(buffer);
        }
    }

    fn read_clock(&mut self, packet: &Packet<'_>) {
        let discontinuity = packet.adaptation.discontinuity;
        match packet.adaptation.pcr {
            Some(pcr) => self.out.push_back(Demuxed::Pcr { base: pcr / 300, discontinuity }),
            None if discontinuity => self.out.push_back(Demuxed::ClockHint),
            None => {}
        }
    }

    fn read_payload(&mut self, packet: &Packet<'_>, payload: &[u8]) {
        let Some(slot) = self.slots.get(packet.pid) else {
            let foreign =
                self.stats.program.is_some() && packet.pid >= FIRST_PROGRAM_PID && packet.pid != self.pcr_pid;
            self.stats.unknown_pid_packets += u64::from(foreign);
            return;
        };
        match slot.continuity.step(packet.continuity, payload) {
            Step::Next => {}
            Step::Duplicate => {
                self.stats.duplicates += 1;
                return;
            }
            Step::Gap => {
                let announced = packet.adaptation.discontinuity;
                if !announced {
                    self.stats.continuity_errors += 1;
                    self.stats.last_problem = Some("continuity");
                }
                if packet.pid == self.pcr_pid {
                    self.out.push_back(Demuxed::ClockHint);
                }
                match &mut slot.content {
                    Content::Pes(assembler) => assembler.lose(announced && packet.unit_start),
                    Content::Pat(sections) | Content::Pmt(sections) | Content::Private(sections) => {
                        sections.reset()
                    }
                }
            }
        }
        if packet.scrambled {
            self.stats.scrambled_packets += 1;
            self.stats.last_problem = Some("scrambled");
            if !std::mem::replace(&mut slot.scrambling_reported, true) {
                self.out.push_back(Demuxed::Refused { reason: "scrambled" });
            }
            return;
        }
        let mut complete = Vec::new();
        let table = match &mut slot.content {
            Content::Pes(assembler) => {
                let before = assembler.held();
                let outcome =
                    assembler.push(packet, payload, &mut |pes| self.out.push_back(Demuxed::Pes(pes)));
                count(&mut self.stats, outcome);
                self.held = self.held.saturating_sub(before) + assembler.held();
                if self.held > OPEN_BYTES_MAX {
                    self.held -= assembler.held();
                    assembler.abandon();
                    count(&mut self.stats, Err(Fault::Oversized));
                }
                return;
            }
            Content::Pat(sections) | Content::Pmt(sections) | Content::Private(sections) => {
                sections.push(payload, packet.unit_start, |section| complete.push(section.to_vec()));
                !matches!(slot.content, Content::Private(_))
            }
        };
        for section in complete {
            if table { self.read_table(packet.pid, &section) } else { self.read_private(packet.pid, section) }
        }
    }

    fn read_private(&mut self, pid: u16, bytes: Vec<u8>) {
        // Splice sections have the short header and a checksum (SCTE 35 section 9.2).
        let checked = bytes[0] == 0xfc || bytes.get(1).is_some_and(|syntax| syntax & 0x80 != 0);
        if checked && crc32(&bytes) != 0 {
            self.stats.bad_sections += 1;
            self.stats.last_problem = Some("section_checksum");
            return;
        }
        self.out.push_back(Demuxed::Section { pid, bytes });
    }

    fn read_table(&mut self, pid: u16, bytes: &[u8]) {
        let Some(section) = Section::parse(bytes) else {
            self.stats.bad_sections += 1;
            self.stats.last_problem = Some("table_checksum");
            return;
        };
        if pid == 0 {
            if let Some(change) = self.programs.push_pat(&section) {
                self.follow_maps(change);
            }
        } else if let Some(pmt) = Pmt::parse(&section) {
            let first = self.stats.program.is_none();
            let Some(pmt) = self.programs.push_pmt(pid, pmt).cloned() else { return };
            if first && self.programs.is_unasked() {
                self.out.push_back(Demuxed::Refused { reason: "other_programs" });
            }
            self.switch(&pmt);
        }
    }

    fn follow_maps(&mut self, change: PatChange) {
        if change.other {
            self.out.push_back(Demuxed::ClockHint);
        }
        for pid in change.gone {
            if self.slots.get(pid).is_some_and(|slot| matches!(slot.content, Content::Pmt(_))) {
                self.slots.remove(pid);
            }
        }
        for pid in change.pids {
            self.slots.insert(pid, Content::Pmt(Sections::default()));
        }
        self.stats.programs = self.programs.count();
    }

    /// Follows the streams of a program; those that stay the same go on undisturbed.
    fn switch(&mut self, pmt: &Pmt) {
        let mut wanted = Vec::new();
        let mut videos = 0;
        for stream in &pmt.streams {
            let kind = StreamKind::of(stream, pmt);
            videos += usize::from(kind.is_some_and(|kind| kind.carriage == Carriage::Pes(Class::Video)));
            match kind {
                Some(kind) if videos <= VIDEO_STREAMS_MAX || kind.carriage != Carriage::Pes(Class::Video) => {
                    wanted.push((stream, kind));
                }
                Some(_) => self.out.push_back(Demuxed::Refused { reason: "too_many_pictures" }),
                None => self.out.push_back(Demuxed::Refused { reason: "sample_encryption" }),
            }
        }
        let mut removed = Vec::new();
        self.followed.retain(|&(pid, kind)| {
            let stays = wanted.iter().any(|(stream, wanted)| stream.pid == pid && *wanted == kind);
            if !stays {
                removed.push(pid);
            }
            stays
        });
        for &pid in &removed {
            self.drop_stream(pid);
        }
        let mut added = Vec::new();
        for (stream, kind) in wanted {
            let content = match kind.carriage {
                Carriage::Pes(class) => Content::Pes(Box::new(Assembler::new(stream.pid, class))),
                Carriage::Sections => Content::Private(Sections::default()),
            };
            let fresh = self.followed.iter().all(|(pid, _)| *pid != stream.pid);
            if fresh && self.slots.insert(stream.pid, content) {
                self.followed.push((stream.pid, kind));
                added.push(Added { stream: stream.clone(), kind });
            }
        }
        self.pcr_pid = pmt.pcr_pid;
        self.stats.program = Some(pmt.program);
        self.out.push_back(Demuxed::Program { removed, added });
    }

    fn drop_stream(&mut self, pid: u16) {
        if let Some(mut slot) = self.slots.remove(pid)
            && let Content::Pes(assembler) = &mut slot.content
        {
            self.held = self.held.saturating_sub(assembler.held());
            let outcome = assembler.finish(&mut |pes| self.out.push_back(Demuxed::Pes(pes)));
            count(&mut self.stats, outcome);
        }
    }
}

fn assembler(slots: &mut Slots, pid: u16) -> Option<&mut Assembler> {
    match &mut slots.get(pid)?.content {
        Content::Pes(assembler) => Some(assembler),
        Content::Pat(_) | Content::Pmt(_) | Content::Private(_) => None,
    }
}

fn count(stats: &mut ImportStats, outcome: Result<(), Fault>) {
    if let Err(fault) = outcome {
        stats.damaged_pes += 1;
        stats.last_problem = Some(match fault {
            Fault::BadHeader => "pes_header",
            Fault::Oversized => "pes_oversized",
            Fault::Incomplete => "pes_incomplete",
        });
    }
}
