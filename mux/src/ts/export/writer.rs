//! Packets: PES with PCR, sections, and packets of PCR alone. `mpeg2ts` puts each packet together; what goes into which one,
//! and the counters, is decided here.

use std::collections::VecDeque;

use bytes::Bytes;
use mpeg2ts::es::StreamId;
use mpeg2ts::pes::PesHeader;
use mpeg2ts::time::{ClockReference, Timestamp};
use mpeg2ts::ts::payload::{Bytes as Payload, Pes, Section};
use mpeg2ts::ts::{
    AdaptationField, ContinuityCounter, Pid, TransportScramblingControl, TsHeader, TsPacket, TsPacketWriter,
    TsPayload, WriteTsPacket,
};

use super::super::packet::PACKET_BYTES;

/// Seven packets: what one datagram takes.
const CHUNK_BYTES: usize = 7 * PACKET_BYTES;

/// Bytes of a packet behind its header.
const BODY_BYTES: usize = PACKET_BYTES - 4;

/// Reserved bits between base and extension of a PCR are ones (H.222.0 section 2.4.3.4); `mpeg2ts` leaves zeros.
const PCR_RESERVED: u8 = 0x7e;
const PCR_RESERVED_AT: usize = 10;

/// 33 bits.
const TIME_MASK: u64 = (1 << 33) - 1;

/// Everything in front of a unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) pid: u16,
    pub(super) stream_id: u8,
    /// 90 kHz, any number of bits.
    pub(super) pts: Option<u64>,
    /// Only where it differs.
    pub(super) dts: Option<u64>,
    /// The header tells the length, if 16 bits hold it.
    pub(super) bounded: bool,
    pub(super) random_access: bool,
    pub(super) discontinuity: bool,
    /// 90 kHz.
    pub(super) pcr: Option<u64>,
}

/// Writes packets and hands them out in chunks.
#[derive(Debug, Default)]
pub(super) struct Writer {
    open: Vec<u8>,
    done: VecDeque<Bytes>,
    counters: Vec<(u16, u8)>,
}

impl Writer {
    /// The next chunk; call [`flush`](Self::flush) before for the one that is not full.
    pub(super) fn poll(&mut self) -> Option<Bytes> {
        self.done.pop_front()
    }

    /// Hands out what is there.
    pub(super) fn flush(&mut self) {
        if !self.open.is_empty() {
            self.done.push_back(std::mem::take(&mut self.open).into());
        }
    }

    /// Writes a unit given in pieces.
    pub(super) fn pes(&mut self, head: &Head, pieces: &[&[u8]]) {
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut pieces = Pieces { pieces, at: 0 };
        let field = head.field();
        let header_bytes = 9 + 5 * (usize::from(head.pts.is_some()) + usize::from(head.dts.is_some()));
        let field_bytes = match &field {
            Some(field) if field.pcr.is_some() => 8,
            Some(_) => 2,
            None => 0,
        };
        let mut body = [0; BODY_BYTES];
        let room = &mut body[..(BODY_BYTES - header_bytes - field_bytes).min(total)];
        pieces.fill(room);
        let declared = if head.bounded { header_bytes - 6 + total } else { 0 };
        let Ok(data) = Payload::new(room) else { return };
        let mut left = total - room.len();
        let pes = Pes { header: head.header(), pes_packet_len: u16::try_from(declared).unwrap_or(0), data };
        self.packet(head.pid, field, Some(TsPayload::PesStart(pes)), true);
        while left > 0 {
            let next = &mut body[..left.min(BODY_BYTES)];
            pieces.fill(next);
            left -= next.len();
            let Ok(data) = Payload::new(next) else { return };
            self.packet(head.pid, None, Some(TsPayload::PesContinuation(data)), true);
        }
    }

    /// Writes a section from the start of a packet, filled up with FF.
    pub(super) fn section(&mut self, pid: u16, section: &[u8]) {
        let mut body = [0xff; BODY_BYTES];
        let (first, rest) = section.split_at(section.len().min(BODY_BYTES - 1));
        body[..first.len()].copy_from_slice(first);
        let Ok(data) = Payload::new(&body[..BODY_BYTES - 1]) else { return };
        self.packet(pid, None, Some(TsPayload::Section(Section { pointer_field: 0, data })), true);
        for chunk in rest.chunks(BODY_BYTES) {
            body.fill(0xff);
            body[..chunk.len()].copy_from_slice(chunk);
            let Ok(data) = Payload::new(&body) else { return };
            self.packet(pid, None, Some(TsPayload::Raw(data)), true);
        }
    }

    /// Writes a packet that holds nothing but the clock, 90 kHz.
    pub(super) fn pcr(&mut self, pid: u16, pcr: u64, discontinuity: bool) {
        self.packet(pid, Some(adaptation(false, discontinuity, Some(pcr))), None, false);
    }

    fn packet(&mut self, pid: u16, field: Option<AdaptationField>, payload: Option<TsPayload>, counts: bool) {
        let start = self.begin();
        let counter = self.count(pid, counts);
        let (Ok(pid), Ok(continuity_counter)) = (Pid::new(pid), ContinuityCounter::from_u8(counter)) else {
            return;
        };
        let header = TsHeader {
            transport_error_indicator: false,
            transport_priority: false,
            pid,
            transport_scrambling_control: TransportScramblingControl::NotScrambled,
            continuity_counter,
        };
        let packet = TsPacket { header, adaptation_field: field, payload };
        let has_clock = packet.adaptation_field.as_ref().is_some_and(|field| field.pcr.is_some());
        let written = TsPacketWriter::new(&mut self.open).write_ts_packet(&packet);
        if written.is_err() {
            self.open.truncate(start);
        } else if has_clock && let Some(reserved) = self.open.get_mut(start + PCR_RESERVED_AT) {
            *reserved |= PCR_RESERVED;
        }
        self.end();
    }

    fn begin(&mut self) -> usize {
        if self.open.capacity() == 0 {
            self.open.reserve_exact(CHUNK_BYTES);
        }
        self.open.len()
    }

    fn end(&mut self) {
        if self.open.len() >= CHUNK_BYTES {
            self.flush();
        }
    }

    /// The counter of the next packet; packets without payload repeat the last one's.
    fn count(&mut self, pid: u16, advance: bool) -> u8 {
        let known = self.counters.iter().position(|(known, _)| *known == pid);
        let index = known.unwrap_or_else(|| {
            self.counters.push((pid, 0));
            self.counters.len() - 1
        });
        let next = &mut self.counters[index].1;
        if !advance {
            return next.wrapping_sub(1) & 15;
        }
        let counter = *next;
        *next = (counter + 1) & 15;
        counter
    }
}

impl Head {
    fn field(&self) -> Option<AdaptationField> {
        let needed = self.random_access || self.discontinuity || self.pcr.is_some();
        needed.then(|| adaptation(self.random_access, self.discontinuity, self.pcr))
    }

    fn header(&self) -> PesHeader {
        let time = |time: u64| Timestamp::new(time & TIME_MASK).ok();
        PesHeader {
            stream_id: StreamId::new(self.stream_id),
            priority: false,
            data_alignment_indicator: true,
            copyright: false,
            original_or_copy: false,
            pts: self.pts.and_then(time),
            dts: self.dts.and_then(time),
            escr: None,
        }
    }
}

fn adaptation(random_access: bool, discontinuity: bool, pcr: Option<u64>) -> AdaptationField {
    AdaptationField {
        discontinuity_indicator: discontinuity,
        random_access_indicator: random_access,
        es_priority_indicator: false,
        pcr: pcr.and_then(|pcr| ClockReference::new((pcr & TIME_MASK) * 300).ok()),
        opcr: None,
        splice_countdown: None,
        transport_private_data: Vec::new(),
        extension: None,
    }
}

/// Reads several slices as one.
struct Pieces<'a> {
    pieces: &'a [&'a [u8]],
    /// Read of the first of them.
    at: usize,
}

impl Pieces<'_> {
    fn next(&mut self, most: usize) -> Option<&[u8]> {
        loop {
            let first = self.pieces.first()?;
            if self.at < first.len() {
                let end = first.len().min(self.at + most);
                let start = std::mem::replace(&mut self.at, end);
                return Some(&first[start..end]);
            }
            self.pieces = &self.pieces[1..];
            self.at = 0;
        }
    }

    fn fill(&mut self, mut room: &mut [u8]) {
        while !room.is_empty() {
            let Some(piece) = self.next(room.len()) else { return };
            let (head, rest) = room.split_at_mut(piece.len());
            head.copy_from_slice(piece);
            room = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_video_packet_like_that_of_ffmpeg() {
        let mut writer = Writer::default();
        let head = Head {
            pid: 0x100,
            stream_id: 0xe0,
            pts: Some(133_200),
            dts: Some(126_000),
            bounded: false,
            random_access: true,
            discontinuity: false,
            pcr: Some(63_000),
        };
        writer.pes(&head, &[&[0, 0, 0, 1, 9, 0xf0], &[7; 200]]);
        writer.flush();
        let chunk = writer.poll().unwrap();
        let start = [
            0x47, 0x41, 0x00, 0x30, 0x07, 0x50, 0x00, 0x00, 0x7b, 0x0c, 0x7e, 0x00, 0, 0, 1, 0xe0, 0, 0,
            0x84, 0xc0, 0x0a, 0x31, 0x00, 0x09, 0x10, 0xa1, 0x11, 0x00, 0x07, 0xd8, 0x61, 0, 0, 0, 1, 9,
            0xf0, 7,
        ];
        assert_eq!(chunk[..start.len()], start);
        assert_eq!(chunk.len(), 2 * 188);
        assert_eq!(chunk[188..192], [0x47, 0x01, 0x00, 0x31]);
    }

    #[test]
    fn sections_span_packets_and_clocks_do_not_count() {
        let mut writer = Writer::default();
        writer.section(0x1000, &[2; 400]);
        writer.pcr(0x1000, 1, false);
        writer.section(0x1000, &[2; 183]);
        writer.flush();
        let chunk = writer.poll().unwrap();
        let heads: Vec<_> = chunk.chunks(188).map(|packet| (packet[1], packet[3])).collect();
        assert_eq!(heads, [(0x50, 0x10), (0x10, 0x11), (0x10, 0x12), (0x10, 0x22), (0x50, 0x13)]);
        assert_eq!(chunk[4], 0, "pointer_field");
        assert_eq!(chunk[2 * 188 + 4 + 33..][..3], [0xff; 3]);
    }

    #[test]
    fn every_length_comes_through_whole() {
        for length in 0..600usize {
            let data: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut writer = Writer::default();
            let head = Head {
                pid: 0x50,
                stream_id: 0xc0,
                pts: Some(5),
                dts: None,
                bounded: true,
                random_access: false,
                discontinuity: false,
                pcr: None,
            };
            writer.pes(&head, &[&data[..length / 3], &data[length / 3..]]);
            writer.flush();
            let mut read = Vec::new();
            while let Some(chunk) = writer.poll() {
                for packet in chunk.chunks(188) {
                    let packet: &[u8; 188] = packet.try_into().unwrap();
                    read.extend_from_slice(
                        super::super::super::packet::Packet::parse(packet).unwrap().payload.unwrap(),
                    );
                }
            }
            assert_eq!(read[14..], data, "{length}");
        }
    }
}
