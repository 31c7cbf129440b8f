//! The sinks that the two doors charge.

use std::{
    ops::Deref,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{
    Counters, ReaderCell, Sheet, Side,
    pool::{Place, Pool},
    registry::RowShared,
};
use crate::{
    BroadcastInfo,
    latency::{BroadcastLatency, Entry, Lane, Sample},
};

/// One session's counters for one broadcast and one direction. Dropping it folds them into their row.
#[derive(Debug)]
pub(crate) struct Meter {
    counters: Arc<Counters>,
    row: Arc<RowShared>,
    side: Side,
    sheet: Option<Arc<Sheet>>,
    pool: Arc<Pool>,
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

/// Who pays for what one reader is given, shared by the groups that it reads. One line of memory, which is seldom needed.
#[derive(Debug)]
#[repr(align(64))]
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
    /// The line of the payer's cell, if it is this account's alone for now.
    claimed: Option<Place>,
    /// Where latencies are noted, so that nobody has to ask the payer.
    latency: Option<Arc<Entry>>,
}

impl Meter {
    pub(super) fn new(
        counters: Arc<Counters>,
        row: Arc<RowShared>,
        side: Side,
        sheet: Option<Arc<Sheet>>,
        pool: Arc<Pool>,
    ) -> Self {
        Self { counters, row, side, sheet, pool }
    }

    /// A cell of a reader's own.
    fn enlist(&self) -> Arc<ReaderCell> {
        let cell = ReaderCell::new(&self.pool);
        self.counters.enlist(Arc::clone(&cell));
        cell
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
        let claimed = payer.cell.as_ref().and_then(|cell| cell.claim());
        let latency = payer.lane.as_ref().map(|lane| Arc::clone(lane.entry()));
        Self { payer, claimed, latency }
    }

    /// Counts one frame of a reader. Only [`GroupConsumer::forward`](crate::GroupConsumer::forward) calls this.
    pub(crate) fn charge(&self, charge: Charge) {
        let Some(line) = &self.claimed else { return self.payer.info.meter.shared().add(charge) };
        line.add(charge.bytes);
        if charge.group {
            self.payer.cell.iter().for_each(|cell| cell.add_group(charge.datagram));
        }
    }

    /// Whether latencies are noted.
    pub(crate) fn is_measured(&self) -> bool {
        self.latency.is_some()
    }

    /// Notes how long a frame took that was received so many microseconds after the start of time. Only
    /// [`GroupConsumer::forward`](crate::GroupConsumer::forward) calls this.
    pub(crate) fn note(&self, received: u64, took: u64) {
        let sample = Sample::of(received, took);
        if !self.claimed.as_ref().is_some_and(|line| line.stage.push(sample)) {
            self.hand_over(sample);
        }
    }

    /// Where the reader has no room for a sample. Not part of what every frame does.
    #[cold]
    fn hand_over(&self, sample: Sample) {
        let Some(latency) = &self.latency else { return };
        if let Some(line) = &self.claimed {
            latency.absorb(&line.stage);
            if line.stage.push(sample) {
                return;
            }
        }
        latency.record(sample);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.claimed.is_some() {
            self.payer.cell.iter().for_each(|cell| cell.release());
        }
    }
}
