//! One access unit while its NAL units come in.

use std::ops::Range;

use super::super::sets::SetKey;
use super::timing::Time;
use super::{Role, Slice};

/// NAL units in one picture. Slices of a macroblock row each are under 300 at 8K; a stream of empty units must not
/// fill memory with positions.
const UNIT_NALS_MAX: usize = 4096;

/// Positions are those of the working data of the [`Video`](super::Video) that owns it.
#[derive(Debug, Default)]
pub(crate) struct Unit {
    nals: Vec<Range<usize>>,
    roles: Vec<Role>,
    code: Option<usize>,
    /// Where the next unit begins, if the next slice turns out to begin a picture.
    split: Option<Split>,
    /// The packet's time, if the unit is the first that begins in its packet.
    pub(crate) time: Option<Time>,
    /// Bytes are missing.
    pub(crate) damaged: bool,
    /// The first slice.
    pub(crate) slice: Option<Slice>,
    /// The first NAL unit is a delimiter.
    pub(crate) delimited: bool,
    /// Pictures until decoding from here is exact, when the stream says so.
    pub(crate) recovery: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Split {
    index: usize,
    code: usize,
    certain: bool,
}

impl Unit {
    pub(crate) fn is_empty(&self) -> bool {
        self.nals.is_empty()
    }

    pub(crate) fn has_slices(&self) -> bool {
        self.slice.is_some()
    }

    pub(crate) fn nals(&self) -> &[Range<usize>] {
        &self.nals
    }

    /// Position of the first start code.
    pub(crate) fn first_code(&self) -> Option<usize> {
        self.code
    }

    /// Position behind the last NAL unit.
    pub(crate) fn end(&self) -> usize {
        self.nals.last().map_or(0, |nal| nal.end)
    }

    /// The unit brings this parameter set itself.
    pub(crate) fn brings(&self, key: SetKey) -> bool {
        self.roles.contains(&Role::Set(key))
    }

    /// Decoding may start here, for one reason or another; tells what a join needs to look at.
    pub(crate) fn may_join(&self) -> bool {
        self.recovery.is_some() || self.slice.is_some_and(|slice| slice.random_access || slice.intra)
    }

    /// Any parameter set came with this picture.
    pub(crate) fn has_sets(&self) -> bool {
        self.roles.iter().any(|role| matches!(role, Role::Set(_)))
    }

    /// Whether the picture ends before a NAL unit of this role.
    pub(crate) fn ends_before(&self, role: Role, unpaired: bool) -> bool {
        if self.slice.is_none() {
            return false;
        }
        match role {
            Role::Slice(slice) if slice.first => !slice.second_field,
            Role::Slice(_) => self.split.is_some_and(|split| split.certain),
            Role::Delimiter => !unpaired,
            Role::Set(_) | Role::Prefix | Role::Recovery(_) | Role::Suffix | Role::Drop(_) => false,
        }
    }

    /// Appends a NAL unit whose start code is at `code`. False when there are too many.
    pub(crate) fn add(&mut self, role: Role, code: usize, nal: Range<usize>) -> bool {
        self.code.get_or_insert(code);
        match role {
            Role::Slice(slice) => {
                self.split = None;
                self.slice = Some(self.slice.map_or(slice, |first| merge(first, slice)));
            }
            Role::Delimiter | Role::Set(_) | Role::Prefix | Role::Recovery(_) => {
                self.before_slices(role, code)
            }
            Role::Suffix | Role::Drop(_) => {}
        }
        self.nals.push(nal);
        self.roles.push(role);
        self.nals.len() < UNIT_NALS_MAX
    }

    fn before_slices(&mut self, role: Role, code: usize) {
        if self.slice.is_some() {
            let certain = role == Role::Delimiter;
            let split = self.split.get_or_insert(Split { index: self.nals.len(), code, certain });
            split.certain |= certain;
            return;
        }
        self.delimited |= role == Role::Delimiter && self.nals.is_empty();
        if let Role::Recovery(frames) = role {
            self.recovery = Some(frames);
        }
    }

    /// Takes the finished picture out and leaves what already belongs to the next one.
    pub(crate) fn take_picture(&mut self) -> Self {
        let mut picture = std::mem::take(self);
        if let Some(split) = picture.split.take() {
            let nals = picture.nals.split_off(split.index);
            let roles = picture.roles.split_off(split.index);
            self.code = Some(split.code);
            self.delimited = roles.first() == Some(&Role::Delimiter);
            self.recovery = roles.iter().find_map(|role| match role {
                Role::Recovery(frames) => Some(*frames),
                Role::Delimiter
                | Role::Set(_)
                | Role::Prefix
                | Role::Slice(_)
                | Role::Suffix
                | Role::Drop(_) => None,
            });
            self.nals = nals;
            self.roles = roles;
        }
        picture
    }

    /// The working data lost its first `base` bytes.
    pub(crate) fn rebase(&mut self, base: usize) {
        if base == 0 {
            return;
        }
        for nal in &mut self.nals {
            *nal = nal.start - base..nal.end - base;
        }
        self.code = self.code.map(|code| code - base);
        if let Some(split) = &mut self.split {
            split.code -= base;
        }
    }
}

/// A picture is what its first slice says; it is intra only if every slice is.
fn merge(first: Slice, other: Slice) -> Slice {
    Slice {
        intra: first.intra && other.intra,
        reference: first.reference || other.reference,
        random_access: first.random_access || (other.second_field && other.random_access),
        ..first
    }
}
