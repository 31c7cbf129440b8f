//! Packets of one source back in order, each once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::super::Packet;

/// Packets that wait for a missing one: half a second of 20 Mbit/s. Beyond, the missing one is given up.
const HELD_MAX: usize = 1024;

/// And their payload: at most 1500 bytes each in practice, but a payload may have 64 KiB.
const HELD_BYTES_MAX: usize = 2 << 20;

/// A step in sequence numbers that is longer is no loss but another beginning (RFC 3550 appendix A.1), once the packet
/// after it has confirmed it.
const STEP_MAX: i64 = 3000;

/// Sequence numbers of packets that were given up, so that late ones can be told from repeated ones.
const LOST_MAX: usize = 1024;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is the newest.
    Newest,
    /// It came after a later one.
    Reordered,
    /// It was there already.
    Duplicate,
    /// It had been given up.
    Late,
    /// It belongs elsewhere, unless the next one says the same.
    Doubtful,
    /// The source began anew with the packet before this one.
    Restarted,
}

/// The reorder and de-duplication buffer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    ssrc: u32,
    /// Extended sequence number of the next packet to come out; `None` until the first one came.
    next: Option<i64>,
    highest: i64,
    held: BTreeMap<i64, (Packet, Instant)>,
    bytes: usize,
    lost: BTreeSet<i64>,
    doubtful: Option<(Packet, Instant)>,
}

/// A packet in its place.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) packet: Packet,
    pub(super) arrival: Instant,
    /// Packets that are missing in front of it.
    pub(super) missing: u64,
}

impl Queue {
    pub(super) fn push(&mut self, packet: Packet, arrival: Instant) -> Taken {
        let Some(next) = self.next else {
            self.begin(packet, arrival);
            return Taken::Newest;
        };
        let step = packet.sequence.wrapping_sub(low(self.highest)).cast_signed();
        let sequence = self.highest + i64::from(step);
        if packet.ssrc != self.ssrc || sequence - self.highest > STEP_MAX || next - sequence > STEP_MAX {
            return self.doubt(packet, arrival);
        }
        if sequence < next {
            return if self.lost.remove(&sequence) { Taken::Late } else { Taken::Duplicate };
        }
        if self.held.contains_key(&sequence) {
            return Taken::Duplicate;
        }
        self.doubtful = None;
        self.bytes += packet.payload.len();
        self.held.insert(sequence, (packet, arrival));
        if sequence < self.highest {
            return Taken::Reordered;
        }
        self.highest = sequence;
        Taken::Newest
    }

    fn begin(&mut self, packet: Packet, arrival: Instant) {
        let first = i64::from(packet.sequence);
        *self = Self { ssrc: packet.ssrc, next: Some(first), highest: first, ..Self::default() };
        self.bytes = packet.payload.len();
        self.held.insert(first, (packet, arrival));
    }

    fn doubt(&mut self, packet: Packet, arrival: Instant) -> Taken {
        let follows = |before: &Packet| {
            before.ssrc == packet.ssrc && before.sequence.wrapping_add(1) == packet.sequence
        };
        match self.doubtful.take() {
            Some((first, first_arrival)) if follows(&first) => {
                self.begin(first, first_arrival);
                self.push(packet, arrival);
                Taken::Restarted
            }
            _ => {
                self.doubtful = Some((packet, arrival));
                Taken::Doubtful
            }
        }
    }

    /// The next packet in order. One that is missing is given up when the packet behind it has waited until `now`, when too
    /// much waits, or at the `end`.
    pub(super) fn pop(&mut self, now: Instant, wait_max: Duration, end: bool) -> Option<Ordered> {
        let next = self.next?;
        let (&sequence, (_, arrival)) = self.held.first_key_value()?;
        let full = self.held.len() > HELD_MAX || self.bytes > HELD_BYTES_MAX;
        if sequence > next && !full && !end && now < *arrival + wait_max {
            return None;
        }
        let (packet, arrival) = self.held.remove(&sequence)?;
        self.bytes -= packet.payload.len();
        self.next = Some(sequence + 1);
        for lost in next.max(sequence - STEP_MAX)..sequence {
            self.lost.insert(lost);
        }
        while self.lost.len() > LOST_MAX {
            self.lost.pop_first();
        }
        Some(Ordered { packet, arrival, missing: (sequence - next).unsigned_abs() })
    }

    /// Until when the next packet is waited for, if it is missing.
    pub(super) fn deadline(&self, wait_max: Duration) -> Option<Instant> {
        self.held.first_key_value().map(|(_, (_, arrival))| *arrival + wait_max)
    }

    /// The source of the packets.
    pub(super) fn ssrc(&self) -> Option<u32> {
        self.next.map(|_| self.ssrc)
    }
}

/// The sequence number as it travels.
fn low(extended: i64) -> u16 {
    let [.., high, low] = extended.to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(100);

    fn packet(sequence: u16) -> Packet {
        Packet { sequence, payload: bytes::Bytes::from_static(&[1]), ..Packet::default() }
    }

    #[expect(clippy::disallowed_methods, reason = "a test is where time comes from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn drain(queue: &mut Queue, now: Instant) -> Vec<(u16, u64)> {
        std::iter::from_fn(|| queue.pop(now, WAIT, false))
            .map(|ordered| (ordered.packet.sequence, ordered.missing))
            .collect()
    }

    #[test]
    fn order_is_restored_over_the_wrap() {
        let (mut queue, now) = (Queue::default(), start());
        let taken: Vec<_> =
            [65534, 0, 65535, 0, 65534, 1].map(|sequence| queue.push(packet(sequence), now)).into();
        use Taken::{Duplicate, Newest, Reordered};
        assert_eq!(taken, [Newest, Newest, Reordered, Duplicate, Duplicate, Newest]);
        assert_eq!(drain(&mut queue, now), [(65534, 0), (65535, 0), (0, 0), (1, 0)]);
        assert_eq!(queue.push(packet(0), now), Duplicate);
    }

    #[test]
    fn what_is_missing_is_waited_for_only_so_long() {
        let (mut queue, now) = (Queue::default(), start());
        for sequence in [1, 4, 5] {
            queue.push(packet(sequence), now);
        }
        assert_eq!(drain(&mut queue, now), [(1, 0)]);
        assert_eq!(queue.deadline(WAIT), Some(now + WAIT));
        assert_eq!(drain(&mut queue, now + WAIT), [(4, 2), (5, 0)]);
        assert_eq!(queue.push(packet(3), now), Taken::Late);
        assert_eq!(queue.push(packet(3), now), Taken::Duplicate);
        assert_eq!(queue.deadline(WAIT), None);
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut queue, now) = (Queue::default(), start());
        queue.push(packet(0), now);
        drain(&mut queue, now);
        for sequence in 2..=u16::try_from(HELD_MAX + 1).unwrap() {
            queue.push(packet(sequence), now);
            assert_eq!(drain(&mut queue, now), []);
        }
        queue.push(packet(u16::try_from(HELD_MAX + 2).unwrap()), now);
        assert_eq!(drain(&mut queue, now).len(), HELD_MAX + 1);
        let mut large = packet(2000);
        large.payload = vec![0; 60_000].into();
        for sequence in 2000..2100 {
            queue.push(Packet { sequence, ..large.clone() }, now);
            drain(&mut queue, now);
            assert!(queue.bytes <= HELD_BYTES_MAX + 60_000);
        }
    }

    #[test]
    fn a_new_beginning_needs_two_packets() {
        let (mut queue, now) = (Queue::default(), start());
        queue.push(packet(100), now);
        assert_eq!(queue.push(packet(40_000), now), Taken::Doubtful);
        queue.push(packet(101), now);
        assert_eq!(queue.push(packet(40_001), now), Taken::Doubtful, "a stray");
        assert_eq!(queue.push(packet(40_002), now), Taken::Restarted);
        assert_eq!(drain(&mut queue, now), [(40_001, 0), (40_002, 0)]);
        let other = |sequence| Packet { ssrc: 7, ..packet(sequence) };
        assert_eq!(queue.push(other(40_003), now), Taken::Doubtful);
        assert_eq!(queue.push(other(40_004), now), Taken::Restarted);
        assert_eq!(queue.ssrc(), Some(7));
    }

    #[test]
    fn losses_are_counted_however_many() {
        let (mut queue, now) = (Queue::default(), start());
        queue.push(packet(0), now);
        drain(&mut queue, now);
        queue.push(packet(2999), now);
        assert_eq!(drain(&mut queue, now + WAIT), [(2999, 2998)]);
        assert!(queue.lost.len() <= LOST_MAX);
    }
}
