//! The receive buffer: accepting, timestamp-based delivery and the too-late drop (draft-sharabayko-srt sections 4.4 to
//! 4.6).
//!
//! A ring of slots counted from the next packet to deliver. Packet numbers are unwrapped to 64-bit indexes whose low
//! 31 bits are the number on the wire.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::Micros;
use super::limits::{FAR_PACKETS, SLOTS_KEPT};
use super::loss::LossList;
use crate::wire::Seq;
use crate::wire::loss_list;

/// What arrived and is not delivered yet.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// Index of `slots[0]`: the next packet to deliver.
    head: u64,
    /// `head` to the newest packet seen; the last one always arrived. Grows with what is in flight, up to `window`.
    slots: VecDeque<Slot>,
    /// Exactly the slots that are [`Slot::Missing`].
    losses: LossList,
    latency: Micros,
    window: u64,
    /// The run of packets outside the window: what would continue it, and its length.
    far: Option<(Seq, u32)>,
    arrived: usize,
    dropped: u64,
}

#[derive(Debug)]
enum Slot {
    /// On the loss list.
    Missing,
    /// The sender said that it will not come.
    GivenUp,
    /// Arrived, but no key opens it: takes its turn and is never delivered.
    Sealed(Micros),
    /// Arrived: its origin in local time.
    Stored(Micros, Bytes),
}

/// Where a packet belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A free slot.
    At(u64),
    /// Its turn is over.
    Belated,
    /// It is here already.
    Duplicate,
    /// Outside the window.
    Far,
}

/// The times of a packet that is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// What it is stamped with, in local time.
    pub(crate) origin: Micros,
    pub(crate) now: Micros,
    /// How long packets missing before it may be late until they are asked for.
    pub(crate) hold: Micros,
}

/// What a stored packet revealed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Packets newly found missing before it.
    pub(crate) gap: u64,
    /// How long it was known to be missing, if it was.
    pub(crate) late: Option<Micros>,
}

impl Receiver {
    /// A buffer that expects `first`.
    pub(crate) fn new(first: Seq, latency: Micros, window: u32) -> Self {
        Self {
            head: first_index(first),
            slots: VecDeque::new(),
            losses: LossList::default(),
            latency,
            window: u64::from(window),
            far: None,
            arrived: 0,
            dropped: 0,
        }
    }

    /// Where `seq` belongs. After a long enough run outside the window, the buffer starts anew there.
    pub(crate) fn place(&mut self, seq: Seq) -> Place {
        let offset = i64::from(seq.minus(seq_of(self.head)));
        if offset.unsigned_abs() >= self.window {
            return self.place_far(seq);
        }
        if offset < 0 {
            return Place::Belated;
        }
        match self.slots.get(offset as usize) {
            Some(Slot::Sealed(_) | Slot::Stored(..)) => Place::Duplicate,
            Some(Slot::Missing | Slot::GivenUp) | None => Place::At(self.head + offset as u64),
        }
    }

    /// Puts a packet in a slot that [`Receiver::place`] named; `payload` is `None` if no key opened it.
    pub(crate) fn store(&mut self, index: u64, payload: Option<Bytes>, times: Times) -> Stored {
        let Times { origin, now, hold } = times;
        self.far = None;
        self.arrived += 1;
        let slot = payload.map_or(Slot::Sealed(origin), |payload| Slot::Stored(origin, payload));
        let next = self.next_index();
        if index < next {
            self.slots[(index - self.head) as usize] = slot;
            let late = self.losses.remove(index).map(|found| now - found);
            return Stored { gap: 0, late };
        }
        let gap = index - next;
        if gap > 0 {
            self.losses.append(next, index - 1, now, hold);
            self.slots.resize_with((index - self.head) as usize, || Slot::Missing);
        }
        self.slots.push_back(slot);
        Stored { gap, late: None }
    }

    /// The next payload that is due at `now`, when the peer's clock is corrected by `drift`. A gap before it is given
    /// up when it is due.
    pub(crate) fn poll(&mut self, now: Micros, drift: Micros) -> Option<Bytes> {
        loop {
            while matches!(self.slots.front(), Some(Slot::GivenUp)) {
                self.skip(1);
            }
            let (gap, origin) = self.first_arrived()?;
            if origin + self.latency + drift > now {
                return None;
            }
            if gap > 0 {
                self.skip(gap);
            }
            let slot = self.slots.pop_front();
            self.head += 1;
            self.arrived -= 1;
            if self.slots.is_empty() && self.slots.capacity() > SLOTS_KEPT {
                self.slots.shrink_to(SLOTS_KEPT / 2);
            }
            if let Some(Slot::Stored(_, payload)) = slot {
                return Some(payload);
            }
            self.dropped += 1;
        }
    }

    /// When [`Receiver::poll`] has something to do next.
    pub(crate) fn next_due(&self, drift: Micros) -> Option<Micros> {
        if matches!(self.slots.front(), Some(Slot::GivenUp)) {
            return Some(Micros::MIN);
        }
        self.first_arrived().map(|(_, origin)| origin + self.latency + drift)
    }

    /// The sender gave up `first ..= last`. Whether that meant anything here.
    pub(crate) fn give_up(&mut self, first: Seq, last: Seq) -> bool {
        let head = seq_of(self.head);
        let (from, to) = (i64::from(first.minus(head)).max(0), i64::from(last.minus(head)));
        let to = to.min(self.slots.len() as i64 - 1);
        if from > to || first.is_after(last) {
            return false;
        }
        let Self { losses, slots, head, .. } = self;
        let mut any = false;
        losses.remove_range(*head + from as u64, *head + to as u64, |first, last| {
            any = true;
            for slot in slots.range_mut((first - *head) as usize..=(last - *head) as usize) {
                *slot = Slot::GivenUp;
            }
        });
        any
    }

    /// Gives up everything that waits or is missing.
    pub(crate) fn discard(&mut self) {
        self.skip(self.slots.len());
        self.arrived = 0;
    }

    /// Everything before this index arrived or was given up.
    pub(crate) fn ack_point(&self) -> u64 {
        self.losses.first().unwrap_or_else(|| self.next_index())
    }

    /// When the next NAK is due.
    pub(crate) fn nak_due(&self) -> Option<Micros> {
        self.losses.next_due()
    }

    /// The body of the NAK that is due at `now`; what it names is due again a `period` later.
    pub(crate) fn nak(&mut self, now: Micros, period: Micros) -> Option<Bytes> {
        if self.losses.next_due()? > now {
            return None;
        }
        let mut body = BytesMut::new();
        self.losses.take_due(now, period, |first, last| {
            let room = loss_list::MAX_WORDS - body.len() / 4;
            loss_list::encode([(seq_of(first), seq_of(last))], room, &mut body) == 1
        });
        (!body.is_empty()).then(|| body.freeze())
    }

    /// Free slots, packets.
    pub(crate) fn free(&self) -> u64 {
        self.window - self.slots.len() as u64
    }

    /// Packets that wait for their turn.
    pub(crate) fn buffered(&self) -> usize {
        self.arrived
    }

    /// Time between the oldest and the newest packet that wait.
    pub(crate) fn span(&self) -> Micros {
        let newest = self.slots.back().and_then(Slot::origin).unwrap_or(0);
        self.first_arrived().map_or(0, |(_, oldest)| (newest - oldest).max(0))
    }

    /// Packets whose turn passed without a delivery.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn next_index(&self) -> u64 {
        self.head + self.slots.len() as u64
    }

    /// How many slots come before the first packet that arrived, and its origin.
    fn first_arrived(&self) -> Option<(usize, Micros)> {
        self.slots.iter().enumerate().find_map(|(at, slot)| Some((at, slot.origin()?)))
    }

    /// Gives up the first `count` slots.
    fn skip(&mut self, count: usize) {
        self.slots.drain(..count);
        self.head += count as u64;
        self.dropped += count as u64;
        self.losses.remove_below(self.head);
    }

    fn place_far(&mut self, seq: Seq) -> Place {
        let length = match self.far {
            Some((next, length)) if next == seq => length + 1,
            _ => 1,
        };
        self.far = Some((seq.next(), length));
        if length < FAR_PACKETS {
            return Place::Far;
        }
        self.discard();
        // Always forward, by less than 2^31: indexes never go back.
        self.head += u64::from(seq.raw().wrapping_sub(self.head as u32) & Seq::MAX);
        Place::At(self.head)
    }
}

impl Slot {
    fn origin(&self) -> Option<Micros> {
        match self {
            Self::Missing | Self::GivenUp => None,
            Self::Sealed(origin) | Self::Stored(origin, _) => Some(*origin),
        }
    }
}

/// The index of the first packet of a connection: room below for numbers that never existed.
pub(crate) fn first_index(seq: Seq) -> u64 {
    (1 << 32) + u64::from(seq.raw())
}

/// The number on the wire of an index.
pub(crate) fn seq_of(index: u64) -> Seq {
    Seq::new(index as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Micros = 100_000;

    fn receiver(first: u32) -> Receiver {
        Receiver::new(Seq::new(first), LATENCY, 64)
    }

    /// Packet `seq` sent at `origin`, held against reordering for 5 ms.
    fn put(receiver: &mut Receiver, seq: u32, origin: Micros) -> Place {
        let place = receiver.place(Seq::new(seq));
        if let Place::At(index) = place {
            let times = Times { origin, now: origin, hold: 5_000 };
            receiver.store(index, Some(Bytes::copy_from_slice(&seq.to_be_bytes())), times);
        }
        place
    }

    fn delivered(receiver: &mut Receiver, now: Micros) -> Vec<u32> {
        std::iter::from_fn(|| receiver.poll(now, 0))
            .map(|payload| u32::from_be_bytes(payload[..].try_into().expect("four bytes")))
            .collect()
    }

    #[test]
    fn delivers_in_order_at_origin_plus_latency_across_the_wrap() {
        let mut receiver = receiver(0x7FFF_FFFE);
        for (seq, origin) in [(0x7FFF_FFFE, 0), (0, 2_000), (0x7FFF_FFFF, 1_000)] {
            assert!(matches!(put(&mut receiver, seq, origin), Place::At(_)));
        }
        assert_eq!(receiver.next_due(0), Some(LATENCY));
        assert!(delivered(&mut receiver, LATENCY - 1).is_empty());
        assert_eq!(delivered(&mut receiver, LATENCY + 1_000), [0x7FFF_FFFE, 0x7FFF_FFFF]);
        assert_eq!(receiver.poll(LATENCY + 2_000, 1), None, "drift delays");
        assert_eq!(delivered(&mut receiver, LATENCY + 2_000), [0]);
        assert_eq!((receiver.dropped(), receiver.buffered()), (0, 0));
    }

    #[test]
    fn a_gap_is_asked_for_then_dropped_when_its_successor_is_due() {
        let mut receiver = receiver(10);
        put(&mut receiver, 10, 0);
        put(&mut receiver, 14, 4_000);
        assert_eq!(seq_of(receiver.ack_point()), Seq::new(11));
        assert_eq!(receiver.nak(8_999, 20_000), None);
        let nak = receiver.nak(9_000, 20_000).expect("due");
        assert_eq!(nak, Bytes::from_static(&[0x80, 0, 0, 11, 0, 0, 0, 13]));
        put(&mut receiver, 12, 2_000);
        assert_eq!(delivered(&mut receiver, LATENCY + 1_999), [10]);
        assert_eq!(delivered(&mut receiver, LATENCY + 2_000), [12]);
        assert_eq!(receiver.dropped(), 1);
        assert_eq!(put(&mut receiver, 11, 1_000), Place::Belated);
        assert_eq!(put(&mut receiver, 14, 4_000), Place::Duplicate);
        assert_eq!(delivered(&mut receiver, LATENCY + 4_000), [14]);
        assert_eq!(receiver.dropped(), 2);
        assert_eq!(seq_of(receiver.ack_point()), Seq::new(15));
        assert_eq!(receiver.nak_due(), None);
    }

    #[test]
    fn a_drop_request_acts_only_on_what_is_missing() {
        let mut receiver = receiver(0);
        for seq in [0, 1, 4, 6] {
            put(&mut receiver, seq, 0);
        }
        assert!(!receiver.give_up(Seq::new(7), Seq::new(1_000)), "beyond the newest");
        assert!(!receiver.give_up(Seq::new(5), Seq::new(3)), "reversed");
        assert!(!receiver.give_up(Seq::new(0x7000_0000), Seq::new(1)), "nothing missing there");
        assert!(receiver.give_up(Seq::new(0x7FFF_FFF0), Seq::new(0x1000_0000)));
        assert_eq!(seq_of(receiver.ack_point()), Seq::new(7));
        assert!(matches!(put(&mut receiver, 3, 0), Place::At(_)), "late is still better than never");
        assert_eq!(delivered(&mut receiver, LATENCY), [0, 1, 3, 4, 6]);
        assert_eq!(receiver.dropped(), 2);
    }

    #[test]
    fn far_packets_are_ignored_until_enough_follow_each_other() {
        let mut receiver = receiver(0);
        put(&mut receiver, 0, 0);
        for _ in 0..1_000 {
            assert_eq!(put(&mut receiver, 100_000, 0), Place::Far);
        }
        for seq in 0..FAR_PACKETS - 1 {
            assert_eq!(put(&mut receiver, 200_000 + seq, 0), Place::Far);
        }
        put(&mut receiver, 1, 0);
        assert_eq!(put(&mut receiver, 200_000 + FAR_PACKETS - 1, 0), Place::Far, "the run was broken");
        for back in [300_000u32, 5_000] {
            for seq in 0..FAR_PACKETS - 1 {
                assert_eq!(put(&mut receiver, back + seq, 0), Place::Far);
            }
            let before = receiver.ack_point();
            assert!(matches!(put(&mut receiver, back + FAR_PACKETS - 1, 0), Place::At(_)));
            assert!(receiver.ack_point() > before);
            assert_eq!(delivered(&mut receiver, LATENCY), [back + FAR_PACKETS - 1]);
        }
    }

    #[test]
    fn sealed_packets_take_their_turn_and_are_acknowledged() {
        let mut receiver = receiver(0);
        for seq in 0..3 {
            let Place::At(index) = receiver.place(Seq::new(seq)) else { panic!("free") };
            let payload = (seq != 1).then(|| Bytes::from_static(&[0, 0, 0, 9]));
            receiver.store(index, payload, Times { origin: 0, now: 0, hold: 0 });
        }
        assert_eq!(seq_of(receiver.ack_point()), Seq::new(3));
        assert_eq!(receiver.place(Seq::new(1)), Place::Duplicate);
        assert_eq!(delivered(&mut receiver, LATENCY), [9, 9]);
        assert_eq!(receiver.dropped(), 1);
    }
}
