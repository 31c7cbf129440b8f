//! The importer: bytes of a transport stream in, events for the publisher out.

use std::collections::VecDeque;
use std::time::Instant;

use super::clock::{Clock, Stamp};
use super::demux::{Added, Demux, Demuxed};
use super::kind::{Carriage, StreamKind, language};
use super::limits::{IDLE_WAIT_MAX, IDLE_WAIT_MIN, STALLED_WAIT, TRACKS_MAX, UNFINISHED_WAIT};
use super::packet::PACKET_BYTES;
use super::pes::{Class, Pes};
use super::programs::{ProgramChoice, ProgramInfo};
use super::sync::Sync;
use super::{ImportStats, splice};
use crate::codec::{Framer, Output, PesUnit, framer};
use crate::event::{CodecConfig, Event, Problem, Track, TrackId, TsOrigin};
use crate::prelude::Prelude;

/// What an import may decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportConfig {
    /// The program to take from a multiplex of several.
    pub program: ProgramChoice,
}

/// Imports one transport stream.
///
/// Takes bytes with [`push`](Self::push) in pieces of any size, gives events with [`poll`](Self::poll) until `None`.
/// The same bytes give the same events however they are cut.
pub struct Importer {
    sync: Sync,
    engine: Engine,
}

impl Importer {
    /// An importer that has seen nothing.
    pub fn new(config: ImportConfig) -> Self {
        Self {
            sync: Sync::default(),
            engine: Engine {
                demux: Demux::new(config.program),
                clock: Clock::default(),
                streams: Vec::new(),
                events: VecDeque::new(),
                prelude: Prelude::default(),
                tracks: 0,
            },
        }
    }

    /// Takes the next bytes, as they came from the network.
    pub fn push(&mut self, bytes: &[u8]) {
        let engine = &mut self.engine;
        self.sync.push(bytes, |packet| engine.packet(packet));
    }

    /// The next event. Take all of them after every other call.
    pub fn poll(&mut self) -> Option<Event> {
        self.engine.events.pop_front()
    }

    /// Gives out units that are complete in all likelihood because nothing followed them for two frame times, or for
    /// half a second if their last packet did not look like one.
    ///
    /// A PES packet without a length ends only where the next one starts, so that without this call the last picture
    /// before a pause waits for the pause to end. Call it every 10 to 20 ms while [`poll_timeout`](Self::poll_timeout)
    /// is set, or after every push.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.engine.flush_idle(now);
        self.engine.prelude.handle_timeout(now, &mut self.engine.events);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do, as of its last call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let idle = self.engine.streams.iter().filter_map(|stream| stream.idle.map(|idle| idle.deadline));
        idle.chain(self.engine.prelude.poll_timeout()).min()
    }

    /// The input is over: gives out everything that is whole, and the end of every track.
    pub fn finish(&mut self) {
        let engine = &mut self.engine;
        self.sync.finish(|packet| engine.packet(packet));
        engine.finish();
    }

    /// The program that is imported, once its map has come.
    pub fn program(&self) -> Option<ProgramInfo> {
        self.engine.demux.program()
    }

    /// Counters since the start.
    pub fn stats(&self) -> ImportStats {
        let engine = &self.engine;
        ImportStats {
            lost_bytes: self.sync.lost_bytes(),
            resyncs: self.sync.resyncs(),
            clock_jumps: engine.clock.jumps(),
            open_bytes: engine.demux.open_bytes(),
            ..engine.demux.stats.clone()
        }
    }
}

impl std::fmt::Debug for Importer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Importer").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Everything behind packet sync.
struct Engine {
    demux: Demux,
    clock: Clock,
    streams: Vec<Stream>,
    events: VecDeque<Event>,
    prelude: Prelude,
    tracks: u32,
}

/// One elementary stream on its way to becoming a track.
struct Stream {
    kind: StreamKind,
    origin: TsOrigin,
    framer: Box<dyn Framer>,
    /// Set with the first parameters.
    track: Option<TrackId>,
    idle: Option<Idle>,
}

/// An open unit that has stopped growing.
#[derive(Clone, Copy)]
struct Idle {
    progress: u64,
    deadline: Instant,
}

impl Engine {
    fn packet(&mut self, packet: &[u8; PACKET_BYTES]) {
        self.demux.push(packet);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(found) = self.demux.poll() {
            match found {
                Demuxed::Program { removed, added } => self.change_program(&removed, added),
                Demuxed::Refused { reason } => {
                    self.emit(Event::Problem(Problem { track: None, reason }));
                }
                Demuxed::Pes(pes) => self.read_pes(pes),
                Demuxed::Section { pid, bytes } => self.read_section(pid, bytes),
                Demuxed::Pcr { base, discontinuity } => self.clock.pcr(base, discontinuity),
                Demuxed::ClockHint => self.clock.expect_jump(false),
            }
        }
    }

    fn finish(&mut self) {
        self.demux.finish();
        self.drain();
        for mut stream in std::mem::take(&mut self.streams) {
            stream.framer.flush();
            self.take_outputs(&mut stream);
            self.emit_for(&stream, Event::TrackEnd);
        }
        self.prelude.end(&mut self.events);
    }

    fn flush_idle(&mut self, now: Instant) {
        let mut over = Vec::new();
        for stream in &mut self.streams {
            let pid = stream.origin.pid;
            let Some(progress) = self.demux.progress(pid) else {
                stream.idle = None;
                continue;
            };
            match stream.idle {
                Some(idle) if idle.progress == progress && now >= idle.deadline => {
                    stream.idle = None;
                    over.push(pid);
                }
                Some(idle) if idle.progress == progress => {}
                _ => {
                    let wait = if self.demux.looks_complete(pid) {
                        (2 * self.clock.unit_time(pid)).clamp(IDLE_WAIT_MIN, IDLE_WAIT_MAX)
                    } else if self.demux.looks_unfinished(pid) {
                        UNFINISHED_WAIT
                    } else {
                        STALLED_WAIT
                    };
                    stream.idle = Some(Idle { progress, deadline: now + wait });
                }
            }
        }
        for pid in over {
            self.demux.finish_idle(pid);
            self.drain();
            self.flush_stream(pid);
        }
    }

    /// Nothing will join what the framer of `pid` holds.
    fn flush_stream(&mut self, pid: u16) {
        if let Some(index) = self.streams.iter().position(|stream| stream.origin.pid == pid) {
            let mut stream = self.streams.swap_remove(index);
            stream.framer.flush();
            self.take_outputs(&mut stream);
            self.streams.push(stream);
        }
    }

    fn change_program(&mut self, removed: &[u16], added: Vec<Added>) {
        if !self.streams.is_empty() {
            self.clock.expect_jump(false);
        }
        let (gone, stay) = std::mem::take(&mut self.streams)
            .into_iter()
            .partition::<Vec<_>, _>(|stream| removed.contains(&stream.origin.pid));
        self.streams = stay;
        for mut stream in gone {
            self.clock.forget(stream.origin.pid);
            stream.framer.flush();
            self.take_outputs(&mut stream);
            self.emit_for(&stream, Event::TrackEnd);
        }
        for Added { stream, kind } in added {
            let origin = TsOrigin {
                pid: stream.pid,
                stream_type: stream.stream_type,
                descriptors: stream.descriptors,
            };
            let framer = framer(kind.coding);
            self.streams.push(Stream { kind, origin, framer, track: None, idle: None });
        }
    }

    fn read_pes(&mut self, pes: Pes) {
        let Some(index) = self.streams.iter().position(|stream| stream.origin.pid == pes.pid) else { return };
        let class = self.streams[index].class();
        let stamp = match pes.pts {
            Some(pts) => match self.clock.stamp(pes.pid, class, pts, pes.dts) {
                Ok(stamp) => Some(stamp),
                Err(_) => {
                    self.demux.stats.misplaced_units += 1;
                    self.demux.stats.last_problem = Some("misplaced_unit");
                    self.demux.recycle(pes.pid, pes.payload);
                    return;
                }
            },
            None => None,
        };
        if stamp.is_some_and(|stamp| stamp.jumped) {
            self.emit(Event::Discontinuity);
        }
        let mut stream = self.streams.swap_remove(index);
        self.frame(&mut stream, &pes, stamp);
        self.streams.push(stream);
        self.demux.recycle(pes.pid, pes.payload);
    }

    fn frame(&mut self, stream: &mut Stream, pes: &Pes, stamp: Option<Stamp>) {
        let class = stream.class();
        let mut pts = stamp.map(|stamp| stamp.pts);
        if class == Class::Data && pts.is_none() {
            pts = self.clock.now(pes.pid);
            if pts.is_none() {
                self.demux.stats.timeless_units += 1;
                return;
            }
        }
        stream.framer.push(PesUnit {
            data: &pes.payload,
            pts,
            dts: stamp.and_then(|stamp| stamp.dts),
            damaged: pes.damaged,
            gap: pes.gap,
            discontinuity: stamp.is_some_and(|stamp| stamp.crossed),
            bounded: pes.bounded,
        });
        self.take_outputs(stream);
    }

    fn read_section(&mut self, pid: u16, mut bytes: Vec<u8>) {
        let Some(index) = self.streams.iter().position(|stream| stream.origin.pid == pid) else { return };
        let Some(now) = self.clock.now(pid) else {
            self.demux.stats.timeless_units += 1;
            return;
        };
        splice::restamp(&mut bytes, self.clock.offset());
        let mut stream = self.streams.swap_remove(index);
        stream.framer.push(PesUnit {
            data: &bytes,
            pts: Some(now),
            dts: None,
            damaged: false,
            gap: false,
            discontinuity: false,
            bounded: true,
        });
        self.take_outputs(&mut stream);
        self.streams.push(stream);
    }

    /// Turns what the framer found into events.
    fn take_outputs(&mut self, stream: &mut Stream) {
        while let Some(output) = stream.framer.poll() {
            match output {
                Output::Config(config) => self.configure(stream, config),
                Output::Frame(frame) => {
                    self.emit_for(stream, |track| Event::Frame { track, frame });
                }
                Output::Problem(reason) => {
                    self.demux.stats.last_problem = Some(reason);
                    self.emit(Event::Problem(Problem { track: stream.track, reason }));
                }
            }
        }
    }

    fn configure(&mut self, stream: &mut Stream, config: CodecConfig) {
        if let Some(track) = stream.track {
            self.emit(Event::Config { track, config });
            return;
        }
        if self.tracks >= TRACKS_MAX {
            self.demux.stats.last_problem = Some("too_many_tracks");
            return;
        }
        let id = TrackId(self.tracks);
        self.tracks += 1;
        stream.track = Some(id);
        let language = language(&stream.origin.descriptors);
        self.emit(Event::Track(Track { id, config, language, origin: Some(stream.origin.clone()) }));
        // The stream at hand is not among the others while it is being read.
        if self.prelude.is_open() && self.streams.iter().all(Stream::is_known) {
            self.prelude.end(&mut self.events);
        }
    }

    fn emit(&mut self, event: Event) {
        self.prelude.pass(event, &mut self.events);
    }

    fn emit_for(&mut self, stream: &Stream, event: impl FnOnce(TrackId) -> Event) {
        if let Some(track) = stream.track {
            self.emit(event(track));
        }
    }
}

impl Stream {
    /// Data may stay silent for ever; only sound and pictures are worth waiting for.
    fn is_known(&self) -> bool {
        self.track.is_some() || !self.kind.is_media()
    }

    fn class(&self) -> Class {
        match self.kind.carriage {
            Carriage::Pes(class) if self.kind.is_media() => class,
            // Pictures that nobody here reads must not steer the clock.
            Carriage::Pes(_) | Carriage::Sections => Class::Data,
        }
    }
}
