//! How the ledger is doing, for the API, the metrics and the readiness check.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

/// What the ledger's writer and exporter say of themselves. Clones are the same status.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    reading: Arc<Mutex<Reading>>,
    written: Arc<Notify>,
}

/// One moment of a [`Status`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// Records on the disk, since the start.
    pub(crate) records: u64,
    /// Attempts to write that failed.
    pub(crate) failures: u64,
    /// Holders whose usage waits in memory because writing failed.
    pub(crate) waiting: u64,
    /// Ended sessions that were put together because too many waited.
    pub(crate) folded: u64,
    /// When everything that had been used was last on the disk.
    pub(crate) written_at: Option<SystemTime>,
    /// Why the last attempt to write failed; `None` once one succeeds.
    pub(crate) failing: Option<String>,
}

impl Status {
    /// A copy of what is known.
    pub(crate) fn read(&self) -> Reading {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is known.
    pub(super) fn update(&self, change: impl FnOnce(&mut Reading)) {
        change(&mut self.reading.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Says that there are new records.
    pub(super) fn notify_written(&self) {
        self.written.notify_one();
    }
}
