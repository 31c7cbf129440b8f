//! What moqgate answers for: usage that survives a restart, and rows that the meter has let go of.

pub(crate) mod cli;
mod export;
mod record;
mod report;
mod rows;
mod status;
mod tables;
mod writer;

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) use export::{Export, Exporter, Token};
use moqgate_core::Origin;
use moqgate_core::usage::{Bookkeeping, Clock};
pub(crate) use report::ReportError;
pub(crate) use rows::{Rows, Sides, Sums};
pub(crate) use status::{Exported, Reading, Status};
use tokio_util::sync::CancellationToken;
use tracing::error;
pub(crate) use writer::How;
use writer::Writer;

use crate::error::StartError;
use crate::store::{Claim, Store};

/// Longer than a writer waits for another one, so that a backup that holds the database at the stop costs no record.
const FLUSH_MAX: Duration = Duration::from_secs(15);

/// The thread that writes the ledger.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Dropped to stop the thread.
    stop: SyncSender<()>,
    ended: CancellationToken,
    thread: JoinHandle<bool>,
    /// Two that write would each take the other for a run that was killed.
    _claim: Claim,
}

/// What the origin has to do so that there can be a ledger.
pub(crate) fn bookkeeping() -> Bookkeeping {
    Bookkeeping { clock: Clock::new(Instant::now), ended_max: writer::ENDED_MAX }
}

impl Ledger {
    /// Goes on with the ledger in `store`.
    pub(crate) fn start(store: Store, origin: Origin, how: How, status: Status) -> Result<Self, StartError> {
        let claim = store.claim()?;
        let writer = Writer::new(store, origin, how, status)?;
        let (stop, stopped) = sync_channel(0);
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let work = move || {
            let _guard = guard;
            writer.run(&stopped)
        };
        let thread = thread::Builder::new().name("ledger".to_owned()).spawn(work);
        let failed = |source: io::Error| StartError::System { what: "start the ledger's thread", source };
        Ok(Self { stop, ended, thread: thread.map_err(failed)?, _claim: claim })
    }

    /// Resolves when the thread ends, which it does not do by itself.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + use<> {
        self.ended.clone().cancelled_owned()
    }

    /// Writes what is left and ends. Returns whether everything is on the disk.
    pub(crate) async fn close(self) -> bool {
        drop(self.stop);
        if tokio::time::timeout(FLUSH_MAX, self.ended.cancelled()).await.is_err() {
            error!("the disk does not answer: the last interval of usage is lost");
            return false;
        }
        let is_written = self.thread.join().unwrap_or(false);
        if !is_written {
            error!("the ledger cannot be written: the last of the usage is lost");
        }
        is_written
    }
}
