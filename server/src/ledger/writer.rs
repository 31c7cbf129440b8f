//! The thread that writes the ledger. It alone waits for the disk.
//!
//! Usage is taken out of the model at every interval and waits in a bounded [`Backlog`] until a commit has succeeded. While the
//! thread waits for the disk, usage stays in the model's own counters, which cost nothing.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use moqgate_core::Origin;
use moqgate_core::usage::Backlog;
use tracing::{error, info};

use super::status::Status;
use super::tables::{Batch, Tables};
use crate::store::{Store, StoreError};
use crate::wall;

/// How many ended sessions are kept apart while nothing can be written: ten minutes of a hundred a second, 20 MB.
pub(super) const ENDED_MAX: usize = 65_536;
/// A disk that stays full is not said of once per interval.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);
/// How often old records are looked for.
const CLEANING_INTERVAL: Duration = Duration::from_secs(3600);
/// At the stop: a first attempt may find that the one before it is to be repeated.
const LAST_ATTEMPTS: usize = 3;

/// What the writer works with.
#[derive(Debug)]
pub(super) struct Writer {
    store: Store,
    origin: Origin,
    how: How,
    boot: i64,
    status: Status,
    tables: Option<Tables>,
    backlog: Backlog,
    /// A batch of which nobody knows whether it is on the disk.
    uncertain: Option<Batch>,
    next_batch: i64,
    recovered: bool,
    complained: Option<Instant>,
    cleaned: Option<Instant>,
}

/// How the ledger is kept.
#[derive(Clone, Debug)]
pub(crate) struct How {
    /// Name of this machine.
    pub(crate) node: String,
    /// How often usage is written.
    pub(crate) interval: Duration,
    /// How long records are kept.
    pub(crate) keep: Duration,
    /// Who must have a record before it is deleted.
    pub(crate) endpoint: Option<String>,
}

/// Why the ledger cannot be written now.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    /// It cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// SQLite refused.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

impl Writer {
    /// A writer that goes on after whatever `store` holds.
    pub(super) fn new(store: Store, origin: Origin, how: How, status: Status) -> Result<Self, StoreError> {
        let tables = Tables::open(&store)?;
        let last = tables.last_boot().map_err(|source| store.error(source))?;
        Ok(Self {
            boot: wall::millis(SystemTime::now()).max(last + 1),
            store,
            origin,
            how,
            status,
            tables: Some(tables),
            backlog: Backlog::new(ENDED_MAX),
            uncertain: None,
            next_batch: 1,
            recovered: false,
            complained: None,
            cleaned: None,
        })
    }

    /// Writes at every interval until the other end of `stop` is dropped, and then what is left. Returns whether nothing is.
    pub(super) fn run(mut self, stop: &Receiver<()>) -> bool {
        loop {
            self.tick();
            match stop.recv_timeout(self.how.interval) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        (0..LAST_ATTEMPTS).any(|_| self.tick())
    }

    /// Takes what was used and tries to write all that waits.
    fn tick(&mut self) -> bool {
        let Self { origin, backlog, .. } = self;
        origin.settle().into_iter().for_each(|statement| backlog.add(statement));
        let written = self.write();
        let waiting = self.backlog.len() + self.uncertain.as_ref().map_or(0, |batch| batch.statements.len());
        let folded = self.backlog.folded() + self.origin.folded();
        self.status.update(|reading| {
            reading.waiting = waiting as u64;
            reading.folded = folded;
        });
        match written {
            Ok(records) => self.succeeded(records),
            Err(error) => self.failed(&error, waiting),
        }
        waiting == 0
    }

    fn write(&mut self) -> Result<usize, WriteError> {
        // Whatever the connection was in the middle of, a new one is not.
        let mut tables = match self.tables.take() {
            Some(tables) => tables,
            None => Tables::open(&self.store)?,
        };
        self.resolve(&tables)?;
        if !self.recovered {
            let left_open = tables.recover(self.boot)?;
            self.recovered = true;
            if left_open > 0 {
                info!(left_open, "an earlier run was killed; its sessions have their last record now");
                self.status.notify_written();
            }
        }
        let mut count = 0;
        if !self.backlog.is_empty() {
            count = self.backlog.len();
            let batch = Batch {
                boot: self.boot,
                number: self.next_batch,
                node: self.how.node.clone(),
                statements: self.backlog.take(),
                at: (Instant::now(), SystemTime::now()),
            };
            if let Err(error) = tables.write(&batch) {
                self.uncertain = Some(batch);
                return Err(error.into());
            }
            self.next_batch += 1;
        }
        self.clean(&mut tables)?;
        self.tables = Some(tables);
        Ok(count)
    }

    /// Finds out what became of a batch whose commit failed.
    fn resolve(&mut self, tables: &Tables) -> Result<(), WriteError> {
        let Some(batch) = &self.uncertain else { return Ok(()) };
        let is_written = tables.last_batch(self.boot)? >= batch.number;
        let Some(batch) = self.uncertain.take() else { return Ok(()) };
        if is_written {
            self.next_batch = batch.number + 1;
        } else {
            batch.statements.into_iter().for_each(|statement| self.backlog.add(statement));
        }
        Ok(())
    }

    fn clean(&mut self, tables: &mut Tables) -> Result<(), WriteError> {
        let is_due = self.cleaned.is_none_or(|last| last.elapsed() >= CLEANING_INTERVAL);
        let until = SystemTime::now().checked_sub(self.how.keep);
        if let Some(until) = until.filter(|_| is_due) {
            // More than one portion: the next interval goes on.
            if tables.delete(until, self.how.endpoint.as_deref())? == 0 {
                self.cleaned = Some(Instant::now());
            }
        }
        Ok(())
    }

    fn succeeded(&mut self, records: usize) {
        self.status.update(|reading| {
            reading.records += records as u64;
            reading.written_at = Some(SystemTime::now());
            reading.failing = None;
        });
        if self.complained.take().is_some() {
            info!("the usage ledger is written again");
        }
        if records > 0 {
            self.status.notify_written();
        }
    }

    fn failed(&mut self, error: &WriteError, waiting: usize) {
        self.status.update(|reading| {
            reading.failures += 1;
            reading.failing = Some(error.to_string());
        });
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL) {
            self.complained = Some(Instant::now());
            error!(%error, waiting, "the usage ledger cannot be written; media goes on, usage waits in memory");
        }
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
