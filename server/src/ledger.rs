//! What this process answers for after the meter has let go of it: rows that have been idle for long are dropped from memory,
//! each with a last line in the log, and stay in the sums.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moqgate_core::usage::{Row, Snapshot, Totals};
use moqgate_core::{Origin, Protocol};
use tracing::info;

/// Long enough for an encoder's break, short enough that a machine which sees a new path a minute keeps some thousand rows.
pub(crate) const ROW_IDLE_MAX: Duration = Duration::from_secs(3600);

/// Sums by tier and protocol.
pub(crate) type Sums = BTreeMap<(Arc<str>, Protocol), Sides>;

/// Both sides of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sides {
    /// Into the origin.
    pub(crate) ingress: Totals,
    /// Out of the origin.
    pub(crate) egress: Totals,
}

impl Sides {
    /// Adds one row.
    pub(crate) fn add(&mut self, row: &Row) {
        self.ingress += row.ingress;
        self.egress += row.egress;
    }
}

/// The account of one origin. Clones are the same account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Account>>);

#[derive(Debug, Default)]
struct Account {
    /// By segment, which no two rows share: the last reading that differed from the one before, and when it was taken.
    seen: BTreeMap<u64, (Row, Instant)>,
    dropped: Sums,
}

impl Ledger {
    /// All rows that are in memory, and the sums of those that are not, such that each is in exactly one of them.
    pub(crate) fn read(&self, origin: &Origin) -> (Snapshot, Sums) {
        let account = self.lock();
        (origin.usage(None), account.dropped.clone())
    }

    /// Looks at every row and drops those that have been idle for too long; they are returned and logged.
    pub(crate) fn report(&self, origin: &Origin, now: Instant) -> Vec<Row> {
        let mut account = self.lock();
        let account = &mut *account;
        account.look(origin.usage(None).usage, now);
        let gone = origin.prune_usage(|row| account.is_idle(row, now));
        for row in &gone {
            account.seen.remove(&row.segment);
            let key = (Arc::clone(&row.tier), row.protocol);
            account.dropped.entry(key).or_default().add(row);
            log("usage row dropped, idle", row);
        }
        gone
    }

    /// Writes the last reading of every row to the log: nothing that was counted ends unseen.
    pub(crate) fn flush(&self, origin: &Origin) {
        for row in origin.usage(None).usage {
            log("usage at the end", &row);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn look(&mut self, rows: Vec<Row>, now: Instant) {
        let mut seen = BTreeMap::new();
        for row in rows {
            let since = match self.seen.get(&row.segment) {
                Some((before, since)) if *before == row => *since,
                Some(_) | None => now,
            };
            seen.insert(row.segment, (row, since));
        }
        self.seen = seen;
    }

    fn is_idle(&self, row: &Row, now: Instant) -> bool {
        let since = self.seen.get(&row.segment).filter(|(before, _)| before == row).map(|(_, since)| *since);
        since.is_some_and(|since| now.saturating_duration_since(since) >= ROW_IDLE_MAX)
    }
}

fn log(message: &'static str, row: &Row) {
    info!(
        path = %row.path,
        tier = %row.tier,
        protocol = row.protocol.as_str(),
        segment = row.segment,
        ingress_groups = row.ingress.groups,
        ingress_frames = row.ingress.frames,
        ingress_bytes = row.ingress.bytes,
        egress_groups = row.egress.groups,
        egress_frames = row.egress.frames,
        egress_bytes = row.egress.bytes,
        egress_fetches = row.egress.fetches,
        "{message}",
    );
}
