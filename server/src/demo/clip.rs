//! A transport stream clip that repeats without a seam: clocks and continuity counters run on from one round to the next.
//!
//! Pure: bytes in, datagrams and the times they are due out.

use std::collections::BTreeMap;
use std::time::Duration;

/// Bytes of a transport stream packet (H.222.0 section 2.4.3.2).
const PACKET: usize = 188;
/// Packets of one SRT payload: what fits an Ethernet frame.
const PACKETS: usize = 7;
const SYNC: u8 = 0x47;
/// PTS, DTS and the base of the PCR count 90 kHz in 33 bits.
const CLOCK_HZ: u64 = 90_000;
const CLOCK_MASK: u64 = (1 << 33) - 1;
/// Stream ids of video (H.222.0 table 2-22): the clip is as long as its pictures.
const VIDEO_IDS: std::ops::RangeInclusive<u8> = 0xe0..=0xef;

/// The clip, and how far it has been played.
pub(super) struct Clip {
    packets: Vec<[u8; PACKET]>,
    /// When each packet is due within a round, 90 kHz, never falling.
    due: Vec<u64>,
    /// Length of a round, 90 kHz.
    period: u64,
    next: usize,
    round: u64,
    counters: BTreeMap<u16, u8>,
}

/// A clip that cannot be repeated.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the clip is not a transport stream with a clock and pictures")]
pub(super) struct NotAClip;

impl Clip {
    /// Reads the clocks of a whole clip.
    pub(super) fn new(bytes: &[u8]) -> Result<Self, NotAClip> {
        let (packets, rest) = bytes.as_chunks::<PACKET>();
        if !rest.is_empty() || packets.iter().any(|packet| packet[0] != SYNC) {
            return Err(NotAClip);
        }
        let packets = packets.to_vec();
        let due = due(&packets).ok_or(NotAClip)?;
        let period = period(&packets).ok_or(NotAClip)?;
        Ok(Self { packets, due, period, next: 0, round: 0, counters: BTreeMap::new() })
    }

    /// When the next datagram is due, from the start of the first round.
    pub(super) fn due(&self) -> Duration {
        let within = self.due.get(self.next).copied().unwrap_or_default();
        Duration::from_micros((self.round * self.period + within) * 1_000_000 / CLOCK_HZ)
    }

    /// The next datagram.
    pub(super) fn next(&mut self) -> Vec<u8> {
        let end = self.packets.len().min(self.next + PACKETS);
        let offset = self.round * self.period;
        let mut datagram = Vec::with_capacity(PACKETS * PACKET);
        for index in self.next..end {
            let mut packet = self.packets[index];
            shift_clocks(&mut packet, offset);
            self.count(&mut packet);
            datagram.extend_from_slice(&packet);
        }
        self.next = end;
        if self.next == self.packets.len() {
            (self.next, self.round) = (0, self.round + 1);
        }
        datagram
    }

    /// Gives a packet with payload the next number of its stream (H.222.0 section 2.4.3.3).
    fn count(&mut self, packet: &mut [u8; PACKET]) {
        let counter = self.counters.entry(pid(packet)).or_insert(packet[3] & 0x0f);
        packet[3] = packet[3] & 0xf0 | *counter;
        if packet[3] & 0x10 != 0 {
            *counter = (*counter + 1) & 0x0f;
        }
    }
}

fn pid(packet: &[u8; PACKET]) -> u16 {
    u16::from_be_bytes([packet[1] & 0x1f, packet[2]])
}

/// Where the payload begins, if there is any.
fn payload(packet: &[u8; PACKET]) -> Option<usize> {
    let start = match packet[3] & 0x20 {
        0 => 4,
        _ => 5 + usize::from(packet[4]),
    };
    (packet[3] & 0x10 != 0 && start < PACKET).then_some(start)
}

/// The base of the PCR.
fn pcr(packet: &[u8; PACKET]) -> Option<u64> {
    let has_pcr = packet[3] & 0x20 != 0 && packet[4] >= 7 && packet[5] & 0x10 != 0;
    let word = u32::from_be_bytes([packet[6], packet[7], packet[8], packet[9]]);
    has_pcr.then(|| u64::from(word) << 1 | u64::from(packet[10] >> 7))
}

fn set_pcr(packet: &mut [u8; PACKET], base: u64) {
    let word = ((base >> 1) as u32).to_be_bytes();
    packet[6..10].copy_from_slice(&word);
    packet[10] = packet[10] & 0x7f | ((base & 1) as u8) << 7;
}

/// Stream id of a PES header in this packet, and where its PTS and DTS fields lie (H.222.0 section 2.4.3.6).
fn stamps(packet: &[u8; PACKET]) -> Option<(u8, Vec<usize>)> {
    let start = payload(packet).filter(|_| packet[1] & 0x40 != 0)?;
    let header = packet.get(start..start + 9)?;
    if header[..3] != [0, 0, 1] || header[6] & 0xc0 != 0x80 {
        return None;
    }
    let fields = match header[7] >> 6 {
        2 => vec![start + 9],
        3 => vec![start + 9, start + 14],
        _ => return None,
    };
    fields.iter().all(|field| field + 5 <= PACKET).then_some((header[3], fields))
}

fn stamp(field: &[u8]) -> u64 {
    let part = |index: usize| u64::from(field[index]);
    (part(0) >> 1 & 7) << 30 | part(1) << 22 | (part(2) >> 1) << 15 | part(3) << 7 | part(4) >> 1
}

fn set_stamp(field: &mut [u8], value: u64) {
    field[0] = field[0] & 0xf1 | ((value >> 29) as u8 & 0x0e);
    field[1] = (value >> 22) as u8;
    field[2] = (value >> 14) as u8 | 1;
    field[3] = (value >> 7) as u8;
    field[4] = (value << 1) as u8 | 1;
}

fn shift_clocks(packet: &mut [u8; PACKET], offset: u64) {
    if let Some(base) = pcr(packet) {
        set_pcr(packet, base.wrapping_add(offset) & CLOCK_MASK);
    }
    for at in stamps(packet).map(|(_, fields)| fields).unwrap_or_default() {
        let value = stamp(&packet[at..at + 5]).wrapping_add(offset) & CLOCK_MASK;
        set_stamp(&mut packet[at..at + 5], value);
    }
}

/// Packets between two clocks are spread evenly; those before the first and after the last go with it.
fn due(packets: &[[u8; PACKET]]) -> Option<Vec<u64>> {
    let clocks: Vec<(usize, u64)> =
        packets.iter().enumerate().filter_map(|(index, packet)| Some((index, pcr(packet)?))).collect();
    let (first, last) = (*clocks.first()?, *clocks.last()?);
    let mut due = vec![0; first.0];
    for pair in clocks.windows(2) {
        let ((from, start), (to, end)) = (pair[0], pair[1]);
        let step = end.checked_sub(start)?;
        let spread = (0..to - from).map(|index| start - first.1 + step * index as u64 / (to - from) as u64);
        due.extend(spread);
    }
    due.resize(packets.len(), last.1 - first.1);
    Some(due)
}

/// From the first picture to where one after the last would be.
fn period(packets: &[[u8; PACKET]]) -> Option<u64> {
    let pictures = packets.iter().filter_map(|packet| {
        let (id, fields) = stamps(packet)?;
        let at = *fields.first().filter(|_| VIDEO_IDS.contains(&id))?;
        Some(stamp(&packet[at..at + 5]))
    });
    let (first, last, count) =
        pictures.fold((u64::MAX, 0, 0), |(first, last, count), at| (at.min(first), at.max(last), count + 1));
    (count > 1).then(|| last - first + (last - first) / (count - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMO: &[u8] = include_bytes!("../../../fixtures/demo.ts");

    fn round(clip: &mut Clip) -> Vec<[u8; PACKET]> {
        let round = clip.round;
        let mut bytes = Vec::new();
        while clip.round == round {
            bytes.extend(clip.next());
        }
        bytes.as_chunks::<PACKET>().0.to_vec()
    }

    #[test]
    fn the_first_round_is_the_clip_itself() {
        let mut clip = Clip::new(DEMO).expect("a clip");
        assert_eq!(clip.due(), Duration::ZERO);
        assert_eq!(round(&mut clip).as_flattened(), DEMO);
    }

    #[test]
    fn clocks_and_counters_run_on() {
        let mut clip = Clip::new(DEMO).expect("a clip");
        assert_eq!(clip.period, 10 * CLOCK_HZ);
        let (first, second) = (round(&mut clip), round(&mut clip));
        for (a, b) in first.iter().zip(&second) {
            assert_eq!(pcr(b), pcr(a).map(|base| base + clip.period));
            let read = |packet: &[u8; PACKET]| {
                let fields = stamps(packet).map(|(_, fields)| fields).unwrap_or_default();
                fields.iter().map(|&at| stamp(&packet[at..at + 5])).collect::<Vec<_>>()
            };
            let shifted: Vec<_> = read(a).iter().map(|at| at + clip.period).collect();
            assert_eq!(read(b), shifted);
        }
        let mut last = BTreeMap::new();
        for packet in first.iter().chain(&second).filter(|packet| packet[3] & 0x10 != 0) {
            let counter = packet[3] & 0x0f;
            let before = last.insert(pid(packet), counter);
            assert!(before.is_none_or(|before: u8| (before + 1) & 0x0f == counter));
        }
        assert_eq!(clip.due(), Duration::from_secs(20));
    }

    #[test]
    fn clocks_wrap_at_33_bits() {
        let mut packet = [0; PACKET];
        packet[..12].copy_from_slice(&[SYNC, 0, 0, 0x20, 7, 0x10, 0xff, 0xff, 0xff, 0xff, 0xfe, 0]);
        assert_eq!(pcr(&packet), Some(CLOCK_MASK));
        shift_clocks(&mut packet, 3);
        assert_eq!(pcr(&packet), Some(2));
        let mut field = [0x21, 0, 1, 0, 1];
        set_stamp(&mut field, CLOCK_MASK);
        assert_eq!((field, stamp(&field)), ([0x2f, 0xff, 0xff, 0xff, 0xff], CLOCK_MASK));
    }

    #[test]
    fn what_is_not_a_clip_is_refused() {
        for bytes in [&[][..], &[SYNC; PACKET], &DEMO[1..], &DEMO[..PACKET + 1], &DEMO[..PACKET]] {
            assert_eq!(Clip::new(bytes).err(), Some(NotAClip));
        }
    }
}
