//! The importer: tags in, events for the publisher out.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use moqgate_core::Timestamp;

use super::clock::{Clock, Lane};
use super::head::{self, Codec, Content, Part};
use super::metadata::{self, Announced};
use super::{Tag, TagKind, audio, video};
use crate::codec::Output;
use crate::event::{AudioCodec, CodecConfig, Event, Problem, Track, TrackId, TsOrigin};
use crate::prelude::Prelude;

/// Tracks of one input, both kinds together. Numbers have 8 bits per kind; encoders send up to 6 of sound.
const STREAMS_MAX: usize = 32;

/// Tracks that one input may open over its life, a change of coding included: a sender that changes for ever must not
/// grow the broadcast for ever.
const TRACKS_MAX: u32 = 512;

/// The first pid of tracks that only a transport stream can carry on.
const FIRST_PID: u16 = 0x180;

/// Reads one coding. Frames come whole, one per message and track.
pub(super) trait Elementary: Send {
    /// Parameters from here on.
    fn configure(&mut self, data: &Bytes);
    /// The number of channels, where the coding's parameters leave it open.
    fn channels(&mut self, _count: u8) {}
    /// Takes a frame. `jumped`: it does not continue what was before.
    fn push(&mut self, part: &Part, time: Time, jumped: bool);
    /// The next finding.
    fn poll(&mut self) -> Option<Output>;
}

/// When a frame is shown and decoded, on the broadcast's time line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    pub(super) pts: Timestamp,
    pub(super) dts: Timestamp,
}

/// Imports the tags of one publisher.
///
/// Takes tags with [`push`](Self::push), gives events with [`poll`](Self::poll) until `None`. Tracks are those that send
/// something: neither the header of a file nor `onMetaData` is believed about them.
pub struct Importer {
    clock: Clock,
    streams: Vec<Stream>,
    events: VecDeque<Event>,
    prelude: Prelude,
    announced: Option<Announced>,
    /// Tracks so far.
    tracks: u32,
    parts: Vec<Part>,
}

/// One track of the sender.
struct Stream {
    kind: TagKind,
    number: u8,
    codec: Codec,
    /// `None` when nothing here reads its coding.
    reader: Option<Box<dyn Elementary>>,
    /// Set with the first parameters.
    track: Option<TrackId>,
    /// The coding under which it was told.
    suffix: &'static str,
    lane: Lane,
}

impl Default for Importer {
    fn default() -> Self {
        Self::new()
    }
}

impl Importer {
    /// An importer that has seen nothing.
    pub fn new() -> Self {
        Self {
            clock: Clock::default(),
            streams: Vec::new(),
            events: VecDeque::new(),
            prelude: Prelude::default(),
            announced: None,
            tracks: 0,
            parts: Vec::new(),
        }
    }

    /// Takes the next tag. Its body may be shared; nothing of it is kept beyond the events.
    pub fn push(&mut self, tag: Tag) {
        let mut parts = std::mem::take(&mut self.parts);
        let read = match tag.kind {
            _ if tag.body.is_empty() => Ok(()),
            TagKind::Video => head::video(&tag.body, &mut parts),
            TagKind::Audio => head::audio(&tag.body, &mut parts),
            TagKind::Script => {
                self.announced = metadata::read(&tag.body).or(self.announced);
                Ok(())
            }
        };
        for part in parts.drain(..) {
            self.part(tag.kind, &part, tag.timestamp_ms);
        }
        if let Err(reason) = read {
            self.emit(Event::Problem(Problem { track: None, reason }));
        }
        self.parts = parts;
    }

    /// The next event. Take all of them after every other call.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The sender has stopped: gives out the end of every track.
    pub fn finish(&mut self) {
        for stream in std::mem::take(&mut self.streams) {
            if let Some(track) = stream.track {
                self.emit(Event::TrackEnd(track));
            }
        }
        self.prelude.end(&mut self.events);
    }

    /// Stops waiting for tracks that were announced and have not come, when the input itself has fallen silent.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.prelude.handle_timeout(now, &mut self.events);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.prelude.poll_timeout()
    }

    fn part(&mut self, kind: TagKind, part: &Part, raw_time: u32) {
        let Some(index) = self.stream(kind, part) else { return };
        let mut stream = self.streams.swap_remove(index);
        self.read(&mut stream, part, raw_time);
        self.streams.push(stream);
        if self.prelude.is_open() && self.is_complete() {
            self.prelude.end(&mut self.events);
        }
    }

    fn read(&mut self, stream: &mut Stream, part: &Part, raw_time: u32) {
        let Some(reader) = &mut stream.reader else { return };
        match part.content {
            Content::Config => reader.configure(&part.data),
            Content::Channels => {
                part.data.get(1).into_iter().for_each(|count| reader.channels(*count));
            }
            Content::End => {}
            Content::Frame if part.data.is_empty() => {}
            Content::Frame => {
                let stamp = self.clock.stamp(&mut stream.lane, raw_time);
                if stamp.jumped {
                    self.prelude.pass(Event::Discontinuity, &mut self.events);
                }
                reader.push(part, time(stamp.time_ms, part), stamp.jumped);
            }
        }
        self.take_outputs(stream);
    }

    /// Where the stream of `part` stands, which begins with it or takes another coding up.
    fn stream(&mut self, kind: TagKind, part: &Part) -> Option<usize> {
        let known = self.streams.iter().position(|stream| stream.kind == kind && stream.number == part.track);
        let index = match known {
            Some(index) if self.streams[index].codec == part.codec || part.content == Content::End => {
                return Some(index);
            }
            Some(index) => index,
            None if part.content == Content::End => return None,
            None if self.streams.len() >= STREAMS_MAX => {
                self.emit(Event::Problem(Problem { track: None, reason: "too_many_tracks" }));
                return None;
            }
            None => {
                self.streams.push(Stream {
                    kind,
                    number: part.track,
                    codec: part.codec,
                    reader: None,
                    track: None,
                    suffix: "",
                    lane: Lane::default(),
                });
                self.streams.len() - 1
            }
        };
        let reader = match kind {
            TagKind::Video => video::elementary(part.codec),
            TagKind::Audio => audio::elementary(part.codec),
            TagKind::Script => None,
        };
        let refused = reader.is_none();
        let stream = &mut self.streams[index];
        stream.codec = part.codec;
        stream.reader = reader;
        if refused {
            let track = stream.track.take();
            self.emit(Event::Problem(Problem { track, reason: "codec_unsupported" }));
            track.into_iter().for_each(|track| self.emit(Event::TrackEnd(track)));
        }
        Some(index)
    }

    fn take_outputs(&mut self, stream: &mut Stream) {
        while let Some(output) = stream.reader.as_mut().and_then(|reader| reader.poll()) {
            match output {
                Output::Config(config) => self.configure(stream, config),
                Output::Frame(frame) => {
                    if let Some(track) = stream.track {
                        self.emit(Event::Frame { track, frame });
                    }
                }
                Output::Problem(reason) => {
                    self.emit(Event::Problem(Problem { track: stream.track, reason }));
                }
            }
        }
    }

    fn configure(&mut self, stream: &mut Stream, config: CodecConfig) {
        if let Some(track) = stream.track
            && stream.suffix == config.suffix()
        {
            self.emit(Event::Config { track, config });
            return;
        }
        if self.tracks >= TRACKS_MAX {
            stream.reader = None;
            self.emit(Event::Problem(Problem { track: stream.track, reason: "too_many_tracks" }));
            stream.track.take().into_iter().for_each(|track| self.emit(Event::TrackEnd(track)));
            return;
        }
        let id = TrackId(self.tracks);
        self.tracks += 1;
        stream.suffix = config.suffix();
        if let Some(track) = stream.track {
            self.emit(Event::Config { track, config });
            return;
        }
        stream.track = Some(id);
        let origin = origin(&config, id);
        self.emit(Event::Track(Track { id, config, language: None, origin }));
    }

    /// Whether every track that is to be expected has shown its parameters: those that send, and as many as were
    /// announced, or else one of each kind.
    fn is_complete(&self) -> bool {
        let expected = self.announced.unwrap_or(Announced { video: 1, audio: 1 });
        let known = |stream: &&Stream| stream.track.is_some() || stream.reader.is_none();
        let count = |kind| self.streams.iter().filter(known).filter(|stream| stream.kind == kind).count();
        self.streams.iter().all(|stream| known(&stream))
            && count(TagKind::Video) >= expected.video
            && count(TagKind::Audio) >= expected.audio
    }

    fn emit(&mut self, event: Event) {
        self.prelude.pass(event, &mut self.events);
    }
}

impl std::fmt::Debug for Importer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Importer")
            .field("streams", &self.streams.len())
            .field("announced", &self.announced)
            .finish_non_exhaustive()
    }
}

fn time(time_ms: i64, part: &Part) -> Time {
    let decode = time_ms * 1000;
    let shown = decode + i64::from(part.composition_ms) * 1000 + i64::from(part.nanos / 1000);
    let at = |micros: i64| Timestamp::from_micros(micros.max(0).unsigned_abs());
    Time { pts: at(shown), dts: at(decode) }
}

/// Sound that MoQ players cannot decode lives on only in transport streams: this is where it would lie in one.
fn origin(config: &CodecConfig, id: TrackId) -> Option<TsOrigin> {
    let CodecConfig::Audio(audio) = config else { return None };
    let (stream_type, descriptors): (u8, &'static [u8]) = match audio.codec {
        AudioCodec::Ac3 => (0x81, b"\x05\x04AC-3"),
        AudioCodec::Eac3 => (0x87, b"\x05\x04EAC3"),
        AudioCodec::Mp2 => (0x03, b""),
        AudioCodec::Aac | AudioCodec::Opus | AudioCodec::Mp3 | AudioCodec::Flac => return None,
    };
    let pid = FIRST_PID + u16::try_from(id.0 % 256).unwrap_or_default();
    Some(TsOrigin { pid, stream_type, descriptors: Bytes::from_static(descriptors) })
}
