//! The sinks that the two doors charge.

use std::{
    ops::Deref,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use super::{Counters, ReaderCell, Sheet, Side, registry::RowShared};
use crate::{
    BroadcastInfo,
    latency::{BroadcastLatency, Lane, Sample},
    time::micros_since,
};

/// One session's counters for one broadcast and one direction. Dropping it folds them into their row.
#[derive(Debug)]
pub(crate) struct Meter {
    counters: Arc<Counters>,
    row: Arc<RowShared>,
    side: Side,
    sheet: Option<Arc<Sheet>>,
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

/// Who pays for what one reader is given, shared by the groups that it reads.
#[derive(Debug)]
pub(crate) struct Payer {
    info: Arc<BroadcastInfo>,
    cell: Option<Arc<ReaderCell>>,
    /// Where latencies are noted; none for what lies in the past by definition.
    lane: Option<Lane>,
}

/// The right to charge a [`Payer`], held by one group at a time where that can be had.
#[derive(Debug)]
pub(crate) struct Account {
    payer: Arc<Payer>,
    /// The payer's cell, if it is this account's alone for now.
    claimed: Option<Arc<ReaderCell>>,
    /// The start of time for latencies, if they are noted.
    base: Option<Instant>,
}

impl Meter {
    pub(super) fn new(
        counters: Arc<Counters>,
        row: Arc<RowShared>,
        side: Side,
        sheet: Option<Arc<Sheet>>,
    ) -> Self {
        Self { counters, row, side, sheet }
    }

    /// The session became a viewer or a publisher.
    pub(crate) fn activate(&self) {
        self.counters.active.open();
        self.sheet.iter().for_each(|sheet| sheet.activate());
    }

    /// It no longer is.
    pub(crate) fn deactivate(&self) {
        self.sheet.iter().for_each(|sheet| sheet.deactivate());
        self.counters.active.close();
    }

    /// Counts one frame of a producer. Only [`GroupProducer::push`](crate::GroupProducer::push) calls this.
    pub(crate) fn charge(&self, charge: Charge) {
        self.counters.shared().add(charge);
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
        self.sheet.iter().for_each(|sheet| sheet.close(&self.counters));
    }
}

impl Payer {
    /// For a reader of many groups.
    pub(crate) fn reader(info: Arc<BroadcastInfo>, latency: Option<&BroadcastLatency>) -> Arc<Self> {
        let cell = info.meter.enlist();
        let lane = latency.and_then(|latency| latency.lane(info.protocol(), &cell));
        Arc::new(Self { info, cell: Some(cell), lane })
    }

    /// For a single group.
    pub(crate) fn once(info: Arc<BroadcastInfo>) -> Arc<Self> {
        Arc::new(Self { info, cell: None, lane: None })
    }
}

impl Drop for Payer {
    fn drop(&mut self) {
        if let Some(cell) = &self.cell {
            self.info.meter.retire(cell);
        }
    }
}

impl Account {
    pub(crate) fn new(payer: Arc<Payer>) -> Self {
        let claimed = payer.cell.clone().filter(|cell| cell.tally.claim());
        let base = payer.lane.as_ref().map(Lane::base);
        Self { payer, claimed, base }
    }

    /// Counts one frame of a reader. Only [`GroupConsumer::forward`](crate::GroupConsumer::forward) calls this.
    pub(crate) fn charge(&self, charge: Charge) {
        match &self.claimed {
            Some(cell) => cell.tally.add_claimed(charge),
            None => self.payer.info.meter.shared().add(charge),
        }
    }

    /// Microseconds since the start of time, if latencies are noted.
    pub(crate) fn micros(&self, now: impl FnOnce() -> Option<Instant>) -> Option<u64> {
        Some(micros_since(self.base?, now()?))
    }

    /// Notes how long a frame took; both times are microseconds since the start of time. Only
    /// [`GroupConsumer::forward`](crate::GroupConsumer::forward) calls this.
    pub(crate) fn note(&self, now: u64, received: u64) {
        let sample = Sample::of(now, received);
        let lane = || self.payer.lane.iter();
        match &self.claimed {
            Some(cell) if cell.stage.push(sample) => lane().for_each(Lane::absorb),
            Some(_) => {}
            None => lane().for_each(|lane| lane.record(sample)),
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(cell) = &self.claimed {
            cell.tally.release();
        }
    }
}
