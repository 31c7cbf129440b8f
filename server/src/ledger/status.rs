//! How the ledger is doing, for the API, the metrics and the readiness check.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

use crate::wall;

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
    /// Of the export, if there is one.
    pub(crate) export: Option<Exported>,
}

/// How the export is doing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exported {
    /// Records that the endpoint has taken, since the start.
    pub(crate) records: u64,
    /// Requests that failed.
    pub(crate) failures: u64,
    /// Records that the endpoint has not taken, when this was last looked at.
    pub(crate) waiting: u64,
    /// When the oldest of them ended, in milliseconds since the Unix epoch.
    pub(crate) oldest_ms: Option<i64>,
    /// Why the last request failed; `None` once one succeeds.
    pub(crate) failing: Option<String>,
}

impl Exported {
    /// How far the endpoint is behind, in milliseconds.
    pub(crate) fn lag_ms(&self) -> i64 {
        self.oldest_ms.map_or(0, |oldest| (wall::millis(SystemTime::now()) - oldest).max(0))
    }
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

    /// Changes what is known of the export.
    pub(super) fn update_export<T>(&self, change: impl FnOnce(&mut Exported) -> T) -> Option<T> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        reading.export.as_mut().map(change)
    }

    /// Waits until there are new records; at most one task waits.
    pub(super) async fn written(&self) {
        self.written.notified().await;
    }

    /// Says that there are new records.
    pub(super) fn notify_written(&self) {
        self.written.notify_one();
    }
}
