//! The continuity counter of one pid (H.222.0 2.4.3.3).

use super::packet::PACKET_BYTES;

/// Follows the counter of one pid over packets **with payload**.
#[derive(Debug)]
pub(crate) struct Continuity {
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    counter: u8,
    repeated: bool,
    length: usize,
    payload: [u8; PACKET_BYTES],
}

/// What a packet's counter says.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Step {
    /// The packet follows the last one, or is the first.
    Next,
    /// The legal second copy of the last packet: only its PCR may be new.
    Duplicate,
    /// Packets are missing.
    Gap,
}

impl Continuity {
    pub(crate) fn new() -> Self {
        Self { last: None }
    }

    /// Compares payloads when the counter repeats: after 15 lost packets it looks like a duplicate and is none.
    pub(crate) fn step(&mut self, counter: u8, payload: &[u8]) -> Step {
        let Some(last) = &mut self.last else {
            self.last = Some(Last::new(counter, payload));
            return Step::Next;
        };
        if counter == last.counter && !last.repeated && last.payload[..last.length] == *payload {
            last.repeated = true;
            return Step::Duplicate;
        }
        let step = if counter == (last.counter + 1) & 0x0f { Step::Next } else { Step::Gap };
        last.set(counter, payload);
        step
    }
}

impl Last {
    fn new(counter: u8, payload: &[u8]) -> Self {
        let mut last = Self { counter, repeated: false, length: 0, payload: [0; PACKET_BYTES] };
        last.set(counter, payload);
        last
    }

    fn set(&mut self, counter: u8, payload: &[u8]) {
        self.counter = counter;
        self.repeated = false;
        self.length = payload.len().min(PACKET_BYTES);
        self.payload[..self.length].copy_from_slice(&payload[..self.length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_identical_copy_is_a_duplicate_and_a_second_is_not() {
        let mut continuity = Continuity::new();
        assert_eq!(continuity.step(15, b"a"), Step::Next);
        assert_eq!(continuity.step(15, b"a"), Step::Duplicate);
        assert_eq!(continuity.step(15, b"a"), Step::Gap);
        assert_eq!(continuity.step(0, b"b"), Step::Next);
    }

    #[test]
    fn a_repeated_counter_with_other_bytes_is_a_gap() {
        let mut continuity = Continuity::new();
        continuity.step(3, b"abc");
        assert_eq!(continuity.step(3, b"abd"), Step::Gap);
        assert_eq!(continuity.step(3, b"ab"), Step::Gap);
        assert_eq!(continuity.step(5, b"x"), Step::Gap);
    }
}
