//! RTP: every depacketiser behind the importer, several streams on one clock, session descriptions, and AAC on its way to
//! Opus.
//!
//! The input is a row of records: flags, length on 16 bits, payload.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_core::Timestamp;
use moqgate_mux::rtp::{
    Codec, ExportConfig, Exporter, Format, ImportConfig, Importer, Output, Packet, StreamId,
};
use moqgate_mux::transcode::{AacToOpus, OpusConfig};

use crate::follow;

const MARKER: u8 = 0x01;
const NEXT_PICTURE: u8 = 0x02;
const LOST: u8 = 0x04;
const TWICE: u8 = 0x08;
const LATER: u8 = 0x10;
const PAUSE: u8 = 0x20;
const REPORT: u8 = 0x40;
const OTHER: u8 = 0x80;

/// Flags and payload of every record.
fn records(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[flags, high, low], rest) = data.split_first_chunk::<3>()?;
        let length = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
        let (payload, after) = rest.split_at(length);
        data = after;
        Some((flags, payload))
    })
}

/// An importer, its publisher's clock, and what has come out.
struct Session {
    importer: Importer,
    streams: Vec<StreamId>,
    sequence: u16,
    timestamp: u32,
    now: Instant,
    held: Option<(StreamId, Packet)>,
    known: BTreeSet<u32>,
}

impl Session {
    fn new(codecs: &[Codec]) -> Self {
        let mut importer = Importer::new(ImportConfig::default());
        let streams = codecs.iter().filter_map(|codec| importer.add(&Format::new(*codec, ""))).collect();
        let (sequence, timestamp, held) = (u16::MAX - 3, u32::MAX - 9000, None);
        Self { importer, streams, sequence, timestamp, now: Instant::now(), held, known: BTreeSet::new() }
    }

    fn record(&mut self, index: usize, flags: u8, payload: &[u8]) {
        if flags & NEXT_PICTURE != 0 {
            self.timestamp = self.timestamp.wrapping_add(3000);
            self.now += Duration::from_millis(33);
        }
        if flags & PAUSE != 0 {
            self.now += Duration::from_secs(1);
            self.importer.handle_timeout(self.now);
        }
        let (sequence, timestamp, marker) = (self.sequence, self.timestamp, flags & MARKER != 0);
        self.sequence = self.sequence.wrapping_add(1);
        let ssrc = u32::from(flags & OTHER);
        if flags & REPORT != 0 {
            self.importer.sender_report(ssrc, u64::from(sequence) << 33, timestamp);
        }
        let stream = self.streams[index % self.streams.len()];
        let packet = Packet { ssrc, sequence, timestamp, marker, payload: Bytes::copy_from_slice(payload) };
        if flags & LOST != 0 {
            return;
        }
        if flags & LATER != 0 {
            self.held = Some((stream, packet));
            return;
        }
        if flags & TWICE != 0 {
            self.push(stream, packet.clone());
        }
        self.push(stream, packet);
        if let Some((stream, packet)) = self.held.take() {
            self.push(stream, packet);
        }
    }

    fn push(&mut self, stream: StreamId, packet: Packet) {
        self.importer.push(stream, packet, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.importer.poll() {
            if let Output::Event(event) = output {
                follow(&event, &mut self.known);
            }
        }
    }

    fn finish(mut self) {
        self.importer.finish(self.now);
        self.drain();
        assert!(self.known.is_empty(), "every track ends");
    }
}

fn run(codecs: &[Codec], data: &[u8]) {
    let mut session = Session::new(codecs);
    for (index, (flags, payload)) in records(data).enumerate() {
        session.record(index, flags, payload);
    }
    session.finish();
}

pub(crate) fn h264(data: &[u8]) {
    run(&[Codec::H264], data);
}

pub(crate) fn h265(data: &[u8]) {
    run(&[Codec::H265], data);
}

pub(crate) fn vp8(data: &[u8]) {
    run(&[Codec::Vp8], data);
}

pub(crate) fn vp9(data: &[u8]) {
    run(&[Codec::Vp9], data);
}

pub(crate) fn av1(data: &[u8]) {
    run(&[Codec::Av1], data);
}

pub(crate) fn opus(data: &[u8]) {
    run(&[Codec::Opus], data);
}

/// Sound and two layers of pictures.
pub(crate) fn streams(data: &[u8]) {
    run(&[Codec::Opus, Codec::Vp8, Codec::H264], data);
}

/// Frames of any bytes leave in packets that fit.
pub(crate) fn export(data: &[u8]) {
    const PAYLOAD_MAX: usize = 100;
    for codec in [Codec::H264, Codec::H265, Codec::Vp8, Codec::Vp9, Codec::Av1] {
        let config = ExportConfig { payload_max: PAYLOAD_MAX, ..ExportConfig::default() };
        let mut exporter = Exporter::with_codec(codec, config);
        for (index, (flags, payload)) in records(data).enumerate() {
            let time = Timestamp::from_micros(index as u64 * 40_000);
            exporter.push(time, flags & MARKER != 0, &Bytes::copy_from_slice(payload));
            while let Some(packet) = exporter.poll() {
                assert!(packet.payload.len() <= PAYLOAD_MAX && !packet.payload.is_empty());
            }
        }
    }
}

/// `a=fmtp` lines.
pub(crate) fn fmtp(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for codec in [Codec::H264, Codec::H265, Codec::Opus] {
        let format = Format::new(codec, text);
        assert!(format.parameter_sets().len() <= 32);
        Importer::new(ImportConfig::default()).add(&format);
    }
}

/// AAC units, behind their AudioSpecificConfig.
pub(crate) fn aac(data: &[u8]) {
    let mut units = records(data);
    let Some((_, config)) = units.next() else { return };
    let Ok(mut transcoder) = AacToOpus::new(&Bytes::copy_from_slice(config), OpusConfig::default()) else {
        return;
    };
    for (index, (flags, unit)) in units.enumerate() {
        let jump = u64::from(flags & OTHER) * 100_000;
        transcoder.push(Timestamp::from_micros(index as u64 * 21_333 + jump), unit);
        while transcoder.poll().is_some() {}
    }
}
