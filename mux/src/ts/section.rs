//! Reassembly of sections from packet payloads (H.222.0 2.4.4.2): pointer_field, sections over several packets, several
//! sections in one packet, stuffing. Checksums are the reader's business; private sections may have none.

use super::limits::SECTION_BYTES_MAX;

/// Table id that means stuffing to the end of the packet.
const STUFFING: u8 = 0xff;

/// Collects the sections of one pid.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    /// The open section; empty when none is open.
    open: Vec<u8>,
}

impl Sections {
    /// Hands every section that this payload completes to `each`, header and checksum included.
    pub(crate) fn push(&mut self, payload: &[u8], unit_start: bool, mut each: impl FnMut(&[u8])) {
        if !unit_start {
            self.continue_open(payload, &mut each);
            return;
        }
        let pointer = usize::from(payload.first().copied().unwrap_or(0));
        let Some((tail, fresh)) = payload.get(1..).and_then(|rest| rest.split_at_checked(pointer)) else {
            self.reset();
            return;
        };
        self.continue_open(tail, &mut each);
        self.reset();
        self.start(fresh, &mut each);
    }

    /// Packets are missing: the open section cannot be completed.
    pub(crate) fn reset(&mut self) {
        self.open.clear();
    }

    fn continue_open(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        while !self.open.is_empty() && !bytes.is_empty() {
            let missing = length(&self.open).unwrap_or(3) - self.open.len();
            let (head, rest) = bytes.split_at(missing.min(bytes.len()));
            self.open.extend_from_slice(head);
            bytes = rest;
            match length(&self.open) {
                Some(length) if length > SECTION_BYTES_MAX => self.reset(),
                Some(length) if length == self.open.len() => {
                    each(&self.open);
                    self.reset();
                }
                _ => {}
            }
        }
    }

    fn start(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        while bytes.first().is_some_and(|&table| table != STUFFING) {
            match length(bytes) {
                Some(length) if length > SECTION_BYTES_MAX => return,
                Some(length) if length <= bytes.len() => {
                    let (section, rest) = bytes.split_at(length);
                    each(section);
                    bytes = rest;
                }
                _ => {
                    self.open.extend_from_slice(bytes);
                    return;
                }
            }
        }
    }
}

/// Whole length of the section that starts here, once its header is there.
fn length(section: &[u8]) -> Option<usize> {
    let [_, high, low, ..] = section else { return None };
    Some(3 + (usize::from(high & 0x0f) << 8 | usize::from(*low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(table: u8, body: usize) -> Vec<u8> {
        let mut bytes = vec![table, 0xb0 | (body >> 8) as u8, body as u8];
        bytes.extend((0..body).map(|index| index as u8));
        bytes
    }

    fn run(packets: &[(bool, &[u8])]) -> Vec<Vec<u8>> {
        let mut sections = Sections::default();
        let mut out = Vec::new();
        for (start, payload) in packets {
            sections.push(payload, *start, |section| out.push(section.to_vec()));
        }
        out
    }

    #[test]
    fn several_in_one_packet_then_stuffing() {
        let (one, two) = (section(0, 10), section(2, 20));
        let payload = [&[0][..], &one, &two, &[0xff; 30]].concat();
        assert_eq!(run(&[(true, &payload)]), [one, two]);
    }

    #[test]
    fn over_packets_with_a_pointer_into_the_next_start() {
        let (long, next) = (section(2, 300), section(2, 8));
        for cut in [1, 2, 3, 100, 180] {
            let first = [&[0][..], &long[..cut]].concat();
            let mut second = vec![(long.len() - 200) as u8];
            second.extend(&long[200..]);
            second.extend(&next);
            let out = run(&[(true, &first), (false, &long[cut..200]), (true, &second)]);
            assert_eq!(out, [long.clone(), next.clone()], "cut {cut}");
        }
    }

    #[test]
    fn an_open_section_ends_at_the_next_start_even_when_short() {
        let (long, next) = (section(2, 300), section(2, 8));
        let first = [&[0][..], &long[..100]].concat();
        let second = [&[0][..], &next].concat();
        assert_eq!(run(&[(true, &first), (true, &second)]), [next]);
    }

    #[test]
    fn bad_pointers_lengths_and_tails_are_ignored() {
        assert!(run(&[(true, &[200, 1, 2])]).is_empty());
        assert!(run(&[(true, &[])]).is_empty());
        assert!(run(&[(false, &section(2, 8))]).is_empty());
        assert!(run(&[(true, &[0, 2, 0xbf, 0xff, 1, 2, 3])]).is_empty());
    }
}
