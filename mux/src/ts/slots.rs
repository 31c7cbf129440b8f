//! The pids that are followed.

use super::continuity::Continuity;
use super::packet::NULL_PID;
use super::pes::Assembler;
use super::section::Sections;

const PIDS: usize = 0x2000;

/// First pid a table may assign (H.222.0 table 2-3).
const FIRST_FREE_PID: u16 = 0x10;

/// State by pid: one array access per packet.
#[derive(Debug)]
pub(crate) struct Slots {
    /// Index into `slots` plus one; 0 = not followed.
    index: Box<[u8; PIDS]>,
    slots: Vec<Slot>,
}

/// One followed pid.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) pid: u16,
    pub(crate) continuity: Continuity,
    pub(crate) scrambling_reported: bool,
    pub(crate) content: Content,
}

/// What a pid carries.
#[derive(Debug)]
pub(crate) enum Content {
    Pat(Sections),
    Pmt(Sections),
    Private(Sections),
    Pes(Box<Assembler>),
}

impl Slots {
    /// Follows only the PAT.
    pub(crate) fn new() -> Self {
        let mut slots = Self { index: Box::new([0; PIDS]), slots: Vec::new() };
        slots.put(0, Content::Pat(Sections::default()));
        slots
    }

    pub(crate) fn get(&mut self, pid: u16) -> Option<&mut Slot> {
        let index = usize::from(self.index[usize::from(pid) & (PIDS - 1)]).checked_sub(1)?;
        self.slots.get_mut(index)
    }

    /// Follows `pid`. False when the pid is reserved or taken, or there are too many.
    pub(crate) fn insert(&mut self, pid: u16, content: Content) -> bool {
        let free = (FIRST_FREE_PID..NULL_PID).contains(&pid) && self.index[usize::from(pid)] == 0;
        let room = self.slots.len() < usize::from(u8::MAX);
        if free && room {
            self.put(pid, content);
        }
        free && room
    }

    pub(crate) fn remove(&mut self, pid: u16) -> Option<Slot> {
        let index = usize::from(self.index[usize::from(pid) & (PIDS - 1)]).checked_sub(1)?;
        self.index[usize::from(pid)] = 0;
        let slot = self.slots.swap_remove(index);
        if let Some(moved) = self.slots.get(index) {
            self.index[usize::from(moved.pid)] = index as u8 + 1;
        }
        Some(slot)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut()
    }

    fn put(&mut self, pid: u16, content: Content) {
        self.slots.push(Slot { pid, continuity: Continuity::new(), scrambling_reported: false, content });
        self.index[usize::from(pid)] = self.slots.len() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_keeps_the_others_reachable() {
        let mut slots = Slots::new();
        for pid in [0x100, 0x101, 0x102] {
            assert!(slots.insert(pid, Content::Private(Sections::default())));
        }
        assert_eq!(slots.remove(0x100).unwrap().pid, 0x100);
        assert!(slots.get(0x100).is_none() && slots.remove(0x100).is_none());
        for pid in [0, 0x101, 0x102] {
            assert_eq!(slots.get(pid).unwrap().pid, pid);
        }
    }

    #[test]
    fn reserved_and_taken_pids_are_refused() {
        let mut slots = Slots::new();
        for pid in [0, 1, 0x0f, NULL_PID, 0x2000] {
            assert!(!slots.insert(pid, Content::Private(Sections::default())), "{pid:x}");
        }
        assert!(slots.insert(0x20, Content::Pmt(Sections::default())));
        assert!(!slots.insert(0x20, Content::Private(Sections::default())));
    }
}
