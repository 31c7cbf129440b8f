//! The programs of a multiplex and which of them is imported.

use bytes::Bytes;

use super::kind::StreamKind;
use super::psi::{PatCollector, PatEntry, Pmt, Section};

/// Which program of a multiplex is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProgramChoice {
    /// The first one whose map lists sound or pictures that can be read; if there is none, the first one with streams.
    #[default]
    First,
    /// The one with this program_number.
    Number(u16),
}

/// The program that is imported, as its tables describe it; an exporter needs it to write the same program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramInfo {
    /// transport_stream_id of the PAT.
    pub transport: u16,
    /// program_number.
    pub number: u16,
    /// Pid of the program map.
    pub pmt_pid: u16,
    /// Pid of the clock reference; 0x1fff = none.
    pub pcr_pid: u16,
    /// The program's own descriptor loop, verbatim: the `CUEI` registration of splices stands here.
    pub descriptors: Bytes,
}

/// Follows the tables.
#[derive(Debug)]
pub(crate) struct Programs {
    choice: ProgramChoice,
    pat: PatCollector,
    transport: Option<u16>,
    programs: Vec<Program>,
    selected: Option<u16>,
}

/// What a new PAT changes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PatChange {
    /// Pids that carry program maps now.
    pub(crate) pids: Vec<u16>,
    /// Pids that did and do not any more.
    pub(crate) gone: Vec<u16>,
    /// This is another transport stream.
    pub(crate) other: bool,
}

#[derive(Debug)]
struct Program {
    entry: PatEntry,
    pmt: Option<Pmt>,
}

impl Programs {
    pub(crate) fn new(choice: ProgramChoice) -> Self {
        Self { choice, pat: PatCollector::default(), transport: None, programs: Vec::new(), selected: None }
    }

    /// Takes a section of pid 0.
    pub(crate) fn push_pat(&mut self, section: &Section<'_>) -> Option<PatChange> {
        let pat = self.pat.push(section)?;
        // Between programs some muxers send an empty PAT.
        if pat.programs.is_empty() {
            return None;
        }
        let other = self.transport.replace(pat.transport).is_some_and(|before| before != pat.transport);
        let mut before = std::mem::take(&mut self.programs);
        let pids: Vec<_> = pat.programs.iter().map(|entry| entry.pmt_pid).collect();
        let gone =
            before.iter().map(|program| program.entry.pmt_pid).filter(|pid| !pids.contains(pid)).collect();
        for entry in pat.programs {
            let known = before.iter().position(|program| program.entry == entry);
            let pmt = known.and_then(|index| before.swap_remove(index).pmt);
            self.programs.push(Program { entry, pmt });
        }
        self.selected = self.selected.filter(|&number| self.find(number).is_some());
        Some(PatChange { pids, gone, other })
    }

    /// Takes a program map from `pid`; gives the map to follow when it is a new one.
    pub(crate) fn push_pmt(&mut self, pid: u16, pmt: Pmt) -> Option<&Pmt> {
        let entry = PatEntry { program: pmt.program, pmt_pid: pid };
        let program = self.programs.iter_mut().find(|program| program.entry == entry)?;
        let changed = program.pmt.as_ref() != Some(&pmt);
        let number = pmt.program;
        program.pmt = Some(pmt);
        match self.selected {
            Some(selected) if selected != number || !changed => return None,
            Some(_) => {}
            None => self.selected = self.choose(),
        }
        self.find(self.selected?)?.pmt.as_ref()
    }

    /// The program that is followed.
    pub(crate) fn info(&self) -> Option<ProgramInfo> {
        let program = self.find(self.selected?)?;
        let pmt = program.pmt.as_ref()?;
        Some(ProgramInfo {
            transport: self.transport?,
            number: pmt.program,
            pmt_pid: program.entry.pmt_pid,
            pcr_pid: pmt.pcr_pid,
            descriptors: pmt.descriptors.clone(),
        })
    }

    /// Programs that the PAT lists.
    pub(crate) fn count(&self) -> usize {
        self.programs.len()
    }

    /// Whether there was more than one to choose from and nobody chose.
    pub(crate) fn is_unasked(&self) -> bool {
        self.programs.len() > 1 && self.choice == ProgramChoice::First
    }

    fn find(&self, number: u16) -> Option<&Program> {
        self.programs.iter().find(|program| program.entry.program == number)
    }

    /// The program to import, once enough is known.
    fn choose(&self) -> Option<u16> {
        let known = || self.programs.iter().filter_map(|program| program.pmt.as_ref());
        let chosen = match self.choice {
            ProgramChoice::Number(number) => known().find(|pmt| pmt.program == number),
            ProgramChoice::First => known().find(|pmt| has_media(pmt)).or_else(|| {
                let all = known().count() == self.programs.len();
                known().find(|pmt| all && !pmt.streams.is_empty())
            }),
        };
        chosen.map(|pmt| pmt.program)
    }
}

fn has_media(pmt: &Pmt) -> bool {
    pmt.streams.iter().filter_map(|stream| StreamKind::of(stream, pmt)).any(StreamKind::is_media)
}

#[cfg(test)]
mod tests {
    use super::super::crc::crc32;
    use super::super::psi::PmtStream;
    use super::*;

    fn pat(programs: &mut Programs, entries: &[(u8, u8)]) -> Option<PatChange> {
        let mut bytes = vec![0, 0xb0, 9 + 4 * entries.len() as u8, 0, 1, 0xc1, 0, 0];
        for &(program, pid) in entries {
            bytes.extend([0, program, 0xe1, pid]);
        }
        bytes.extend(crc32(&bytes).to_be_bytes());
        let Some(section) = Section::parse(&bytes) else { panic!("a bad PAT") };
        programs.push_pat(&section)
    }

    fn pmt(program: u16, stream_type: u8) -> Pmt {
        let stream = PmtStream { pid: 0x200 + program, stream_type, descriptors: Bytes::new() };
        Pmt { program, version: 0, pcr_pid: 0x1fff, descriptors: Bytes::new(), streams: vec![stream] }
    }

    fn followed(programs: &mut Programs, pid: u16, pmt: Pmt) -> Option<u16> {
        programs.push_pmt(pid, pmt).map(|pmt| pmt.program)
    }

    const SOUND: u8 = 0x0f;
    const UNKNOWN: u8 = 0x9f;

    #[test]
    fn data_is_taken_when_there_is_nothing_else() {
        let mut programs = Programs::new(ProgramChoice::First);
        pat(&mut programs, &[(1, 1), (2, 2)]);
        assert_eq!(followed(&mut programs, 0x101, pmt(1, UNKNOWN)), None, "the other may have sound");
        assert_eq!(followed(&mut programs, 0x102, pmt(2, UNKNOWN)), Some(1));
        assert_eq!(followed(&mut programs, 0x101, pmt(1, UNKNOWN)), None, "unchanged");
        assert_eq!(followed(&mut programs, 0x102, pmt(2, SOUND)), None, "chosen once");
        assert_eq!(followed(&mut programs, 0x101, pmt(1, SOUND)), Some(1));
    }

    #[test]
    fn the_next_is_taken_when_the_chosen_one_leaves() {
        let mut programs = Programs::new(ProgramChoice::First);
        pat(&mut programs, &[(1, 1), (2, 2)]);
        assert_eq!(followed(&mut programs, 0x101, pmt(1, SOUND)), Some(1));
        assert_eq!(followed(&mut programs, 0x102, pmt(2, SOUND)), None);
        let change = pat(&mut programs, &[(2, 2)]).unwrap();
        assert_eq!(change, PatChange { pids: vec![0x102], gone: vec![0x101], other: false });
        assert_eq!(followed(&mut programs, 0x101, pmt(1, SOUND)), None);
        assert_eq!(followed(&mut programs, 0x102, pmt(2, SOUND)), Some(2));
        assert_eq!(programs.info().map(|info| (info.number, info.pmt_pid)), Some((2, 0x102)));
    }
}
