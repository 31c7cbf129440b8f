//! The importer: packets in, events for the publisher out.

mod clock;
mod queue;
mod reader;
mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::{Format, Packet};
use crate::codec::Output as Found;
use crate::event::{CodecConfig, Event, Problem, Track, TrackId};
use crate::prelude::Prelude;
use clock::Clock;
use stream::Stream;

/// Streams of one publisher over its life: media sections of an offer, with three layers each, and room for renegotiation.
const STREAMS_MAX: u32 = 256;

/// Streams at the same time: four of pictures with three layers each, and four of sound.
const STREAMS_OPEN_MAX: usize = 16;

/// What an operator may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportConfig {
    /// How long a missing packet of a picture is waited for while later ones are there: retransmission has to fit in.
    /// Nothing waits while nothing is missing.
    pub wait_max: Duration,
    /// The same for sound, which is rarely retransmitted: 20 ms that are missing hurt less than all sound that is late.
    pub audio_wait_max: Duration,
}

impl Default for ImportConfig {
    fn default() -> Self {
        Self { wait_max: Duration::from_millis(400), audio_wait_max: Duration::from_millis(100) }
    }
}

/// Names a stream within one importer; never reused by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// What comes out.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// For the publisher.
    Event(Event),
    /// Nothing of this stream can be decoded before its next keyframe: it is time for a PLI or FIR. Said at once when a
    /// loss could not be mended, and again every half second until a keyframe comes.
    KeyframeNeeded {
        /// The stream.
        stream: StreamId,
        /// Its synchronisation source, to which feedback is addressed.
        ssrc: u32,
    },
}

/// Counts of one stream. None of it is billed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Packets taken, empty ones included.
    pub packets: u64,
    /// Payload bytes of them.
    pub bytes: u64,
    /// Packets without payload.
    pub empty: u64,
    /// Packets that were there already.
    pub duplicates: u64,
    /// Packets that came after they had been given up.
    pub late: u64,
    /// Packets that came out of order and in time.
    pub reordered: u64,
    /// Packets that were given up.
    pub lost: u64,
    /// Frames given out.
    pub frames: u64,
    /// Frames that were dropped because a part of them was missing.
    pub frames_dropped: u64,
    /// Requests for a keyframe.
    pub keyframes_needed: u64,
}

/// Imports the streams of one publisher.
///
/// Declare a stream for each negotiated media section, or for each layer of a simulcast, with [`add`](Self::add); give it
/// packets with [`push`](Self::push) as they arrive, repeated and out of order as they may be, and the publisher's sender
/// reports with [`sender_report`](Self::sender_report). After every call take all outputs with [`poll`](Self::poll).
#[derive(Debug)]
pub struct Importer {
    config: ImportConfig,
    clock: Clock,
    streams: BTreeMap<StreamId, Stream>,
    next: u32,
    tracks: u32,
    prelude: Prelude,
    /// Streams of pictures and of sound that are to be expected.
    expected: (usize, usize),
    events: VecDeque<Event>,
    requests: VecDeque<(StreamId, u32)>,
}

impl Importer {
    /// An importer that has seen nothing.
    pub fn new(config: ImportConfig) -> Self {
        Self {
            config,
            clock: Clock::default(),
            streams: BTreeMap::new(),
            next: 0,
            tracks: 0,
            prelude: Prelude::default(),
            expected: (0, 0),
            events: VecDeque::new(),
            requests: VecDeque::new(),
        }
    }

    /// So many sections of pictures and of sound were negotiated, whose streams are added once they send. The start of the
    /// broadcast is held until each has shown its parameters, for a second at most: players that are told of the sound
    /// first do not look for a picture later.
    pub fn expect(&mut self, video: usize, audio: usize) {
        self.expected = (video, audio);
    }

    /// A new stream in this format. `None` when there are as many as one publisher may have.
    pub fn add(&mut self, format: &Format) -> Option<StreamId> {
        if self.next >= STREAMS_MAX || self.streams.len() >= STREAMS_OPEN_MAX {
            return None;
        }
        let id = StreamId(self.next);
        self.next += 1;
        let lane = self.clock.add(format.codec().clock_rate());
        self.streams.insert(id, Stream::new(format, lane));
        Some(id)
    }

    /// The stream is over: what waits of it is given out, and its track ends.
    pub fn remove(&mut self, id: StreamId, now: Instant) {
        let Some(mut stream) = self.streams.remove(&id) else { return };
        stream.advance(now, &self.config, true, &mut self.clock);
        self.take(&mut stream);
        if let Some(track) = stream.track {
            self.emit(Event::TrackEnd(track));
        }
        self.end_prelude();
    }

    /// Takes the next packet of a stream. It may come from another source than the last one, which then has ended.
    pub fn push(&mut self, id: StreamId, packet: Packet, arrival: Instant) {
        let Some(mut stream) = self.streams.remove(&id) else { return };
        stream.push(packet, arrival, &mut self.clock);
        self.advance(id, &mut stream, arrival);
        self.streams.insert(id, stream);
        self.end_prelude();
        self.prelude.handle_timeout(arrival, &mut self.events);
    }

    /// A sender report of the source `ssrc` (RFC 3550 section 6.4.1): at `ntp` (seconds in the upper 32 bits) its clock
    /// stood at `rtp`. One that comes before the first packet of its source is lost; there will be others.
    pub fn sender_report(&mut self, ssrc: u32, ntp: u64, rtp: u32) {
        let stream = self.streams.values().find(|stream| stream.ssrc() == Some(ssrc));
        if let Some(stream) = stream {
            self.clock.report(stream.lane, ntp, rtp);
        }
    }

    /// The next output.
    pub fn poll(&mut self) -> Option<Output> {
        let request = self.requests.pop_front();
        request
            .map(|(stream, ssrc)| Output::KeyframeNeeded { stream, ssrc })
            .or_else(|| self.events.pop_front().map(Output::Event))
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let streams = self.streams.values().filter_map(|stream| stream.deadline(&self.config));
        streams.chain(self.prelude.poll_timeout()).min()
    }

    /// Gives up on packets and on silent streams that were waited for too long, and asks again for keyframes.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut streams = std::mem::take(&mut self.streams);
        for (id, stream) in &mut streams {
            stream.remind(now);
            self.advance(*id, stream, now);
        }
        self.streams = streams;
        self.prelude.handle_timeout(now, &mut self.events);
    }

    /// The publisher has stopped: gives out what waits, and the end of every track.
    pub fn finish(&mut self, now: Instant) {
        let ids: Vec<_> = self.streams.keys().copied().collect();
        ids.into_iter().for_each(|id| self.remove(id, now));
        self.requests.clear();
        self.prelude.end(&mut self.events);
    }

    /// Counts of a stream.
    pub fn stats(&self, id: StreamId) -> Option<StreamStats> {
        self.streams.get(&id).map(|stream| stream.stats)
    }

    /// The stream that a track belongs to.
    pub fn stream_of(&self, track: TrackId) -> Option<StreamId> {
        self.streams.iter().find(|(_, stream)| stream.track == Some(track)).map(|(id, _)| *id)
    }

    /// The synchronisation source of a stream, once it has sent: where to ask for a keyframe.
    pub fn ssrc(&self, id: StreamId) -> Option<u32> {
        self.streams.get(&id)?.ssrc()
    }

    fn advance(&mut self, id: StreamId, stream: &mut Stream, now: Instant) {
        stream.advance(now, &self.config, false, &mut self.clock);
        self.take(stream);
        self.requests.extend(stream.take_request().map(|ssrc| (id, ssrc)));
    }

    fn take(&mut self, stream: &mut Stream) {
        while let Some(found) = stream.poll() {
            match found {
                Found::Config(config) => self.configure(stream, config),
                Found::Frame(frame) => {
                    if let Some(track) = stream.track {
                        self.emit(Event::Frame { track, frame });
                    }
                }
                Found::Problem(reason) => {
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
        let id = TrackId(self.tracks);
        self.tracks += 1;
        stream.track = Some(id);
        self.emit(Event::Track(Track { id, config, language: None, origin: None }));
    }

    fn emit(&mut self, event: Event) {
        self.prelude.pass(event, &mut self.events);
    }

    /// The start is over when every stream has shown its parameters.
    fn end_prelude(&mut self) {
        let known = |video: bool| {
            self.streams
                .values()
                .filter(|stream| stream.is_known() && stream.codec.is_video() == video)
                .count()
        };
        let all = self.streams.values().all(Stream::is_known);
        if self.prelude.is_open() && all && known(true) >= self.expected.0 && known(false) >= self.expected.1
        {
            self.prelude.end(&mut self.events);
        }
    }
}
