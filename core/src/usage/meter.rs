//! The sink that the two doors charge.

use std::{
    ops::Deref,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{Counters, Side, registry::RowShared};

/// One session's counters for one broadcast and one direction. Dropping it folds them into their row.
#[derive(Debug)]
pub(crate) struct Meter {
    counters: Arc<Counters>,
    row: Arc<RowShared>,
    side: Side,
}

/// What one frame costs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Charge {
    pub(crate) bytes: usize,
    /// The frame is the first of a group that is counted.
    pub(crate) group: bool,
    /// The group moves as a datagram.
    pub(crate) datagram: bool,
}

impl Meter {
    pub(super) fn new(counters: Arc<Counters>, row: Arc<RowShared>, side: Side) -> Self {
        Self { counters, row, side }
    }

    /// Counts one frame. Only the two doors call this.
    pub(crate) fn charge(&self, charge: Charge) {
        self.counters.frames.fetch_add(1, Relaxed);
        self.counters.bytes.fetch_add(charge.bytes as u64, Relaxed);
        if charge.group {
            self.counters.groups.fetch_add(1, Relaxed);
            if charge.datagram {
                self.counters.datagrams.fetch_add(1, Relaxed);
            }
        }
    }

    /// Counts one answered fetch; its frames are charged as they leave.
    pub(crate) fn fetched(&self) {
        self.counters.fetches.fetch_add(1, Relaxed);
    }
}

impl Deref for Meter {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.counters
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.row.retire(self.side, &self.counters);
    }
}
