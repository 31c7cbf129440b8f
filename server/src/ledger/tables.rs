//! The ledger's tables, as its writer sees them.

use std::time::{Instant, SystemTime};

use moqgate_core::usage::Statement;
use rusqlite::{Connection, Statement as Prepared, Transaction, TransactionBehavior, params};

use crate::store::{Store, StoreError};
use crate::wall;

/// Why a run's last record of an account was written by the next run.
const CRASHED: &str = "crashed";
/// How many old records are deleted in one transaction, so that writing never waits for long.
const DELETED_AT_ONCE: u32 = 10_000;

/// A connection of the writer.
#[derive(Debug)]
pub(super) struct Tables(Connection);

/// What is written at once or not at all.
#[derive(Debug)]
pub(super) struct Batch {
    /// The run of the process.
    pub(super) boot: i64,
    /// From 1, without a gap.
    pub(super) number: i64,
    /// Name of this machine.
    pub(super) node: String,
    /// What is to be written.
    pub(super) statements: Vec<Statement>,
    /// One moment on both clocks.
    pub(super) at: (Instant, SystemTime),
}

/// The statements that write a batch.
struct Writer<'a> {
    account: Prepared<'a>,
    record: Prepared<'a>,
    close: Prepared<'a>,
}

impl Tables {
    pub(super) fn open(store: &Store) -> Result<Self, StoreError> {
        store.connect().map(Self)
    }

    /// The latest run that is known; 0 without any.
    pub(super) fn last_boot(&self) -> rusqlite::Result<i64> {
        let sql = "SELECT max(ifnull((SELECT max(boot) FROM usage_accounts), 0),
                              ifnull((SELECT max(boot) FROM usage_batches), 0))";
        self.0.query_row(sql, [], |row| row.get(0))
    }

    /// The last batch of `boot` that is on the disk; 0 without any.
    pub(super) fn last_batch(&self, boot: i64) -> rusqlite::Result<i64> {
        let sql = "SELECT ifnull(max(batch), 0) FROM usage_batches WHERE boot = ?1";
        self.0.query_row(sql, [boot], |row| row.get(0))
    }

    /// Writes the last record of every account that another run left open.
    pub(super) fn recover(&mut self, boot: i64) -> rusqlite::Result<usize> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let records = format!(
            "INSERT INTO usage_records
                 (account, sequence, from_ms, to_ms, groups, frames, bytes, fetches, datagrams, active_ms, reason)
             SELECT a.id, max(r.sequence) + 1, max(r.to_ms), max(r.to_ms), 0, 0, 0, 0, 0, 0, '{CRASHED}'
             FROM usage_accounts a JOIN usage_records r ON r.account = a.id
             WHERE a.final = 0 AND a.boot <> ?1 GROUP BY a.id"
        );
        let count = transaction.execute(&records, [boot])?;
        transaction.execute("UPDATE usage_accounts SET final = 1 WHERE final = 0 AND boot <> ?1", [boot])?;
        transaction.commit()?;
        Ok(count)
    }

    /// Writes `batch`. After an error nobody knows whether it is written: [`last_batch`](Self::last_batch) of a new
    /// connection does.
    pub(super) fn write(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(
            "INSERT INTO usage_batches VALUES (?1, ?2) ON CONFLICT (boot) DO UPDATE SET batch = excluded.batch",
            [batch.boot, batch.number],
        )?;
        let mut writer = Writer::new(&transaction)?;
        for statement in &batch.statements {
            writer.write(batch, statement)?;
        }
        drop(writer);
        transaction.commit()
    }

    /// Deletes some of the records that ended before `until`, and that `endpoint`, if there is one, has taken. Returns how
    /// many. The newest record of an account that is open stays: the next one is numbered after it.
    pub(super) fn delete(&mut self, until: SystemTime, endpoint: Option<&str>) -> rusqlite::Result<usize> {
        let taken = match endpoint {
            Some(endpoint) => {
                let sql = "SELECT ifnull(max(position), 0) FROM usage_exports WHERE endpoint = ?1";
                self.0.query_row(sql, [endpoint], |row| row.get(0))?
            }
            None => i64::MAX,
        };
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let count = transaction.execute(
            "DELETE FROM usage_records WHERE position IN
                 (SELECT r.position FROM usage_records r JOIN usage_accounts a ON a.id = r.account
                  WHERE r.to_ms < ?1 AND r.position <= ?2 AND (a.final = 1 OR r.sequence <
                      (SELECT max(sequence) FROM usage_records newest WHERE newest.account = a.id)) LIMIT ?3)",
            params![wall::millis(until), taken, DELETED_AT_ONCE],
        )?;
        if count > 0 {
            transaction.execute(
                "DELETE FROM usage_accounts WHERE final = 1
                 AND NOT EXISTS (SELECT 1 FROM usage_records r WHERE r.account = usage_accounts.id)",
                [],
            )?;
        }
        transaction.commit()?;
        Ok(count)
    }

    /// Makes the database full at its present size, for tests.
    #[cfg(test)]
    pub(super) fn fill(&self) {
        let size: i64 = self.0.pragma_query_value(None, "page_count", |row| row.get(0)).expect("a size");
        self.0.query_row(&format!("PRAGMA max_page_count = {size}"), [], |_| Ok(())).expect("a limit");
    }
}

impl<'a> Writer<'a> {
    fn new(transaction: &'a Transaction<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            // The update changes nothing and makes the id come back.
            account: transaction.prepare(
                "INSERT INTO usage_accounts
                     (node, boot, number, tenant, tier, protocol, path, session, direction, final)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0)
                 ON CONFLICT (boot, number) DO UPDATE SET final = final RETURNING id",
            )?,
            record: transaction.prepare(
                "INSERT INTO usage_records
                     (account, sequence, from_ms, to_ms, groups, frames, bytes, fetches, datagrams, active_ms, reason)
                 VALUES (?1, (SELECT ifnull(max(sequence) + 1, 0) FROM usage_records WHERE account = ?1),
                     ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?,
            close: transaction.prepare("UPDATE usage_accounts SET final = 1 WHERE id = ?1")?,
        })
    }

    fn write(&mut self, batch: &Batch, statement: &Statement) -> rusqlite::Result<()> {
        let (holder, amounts) = (&statement.holder, &statement.amounts);
        let account: i64 = self.account.query_row(
            params![
                batch.node,
                batch.boot,
                number(holder.number),
                &*holder.tenant,
                &*holder.tier,
                holder.protocol.as_str(),
                holder.path.as_str(),
                &*holder.session,
                holder.side.as_str(),
            ],
            |row| row.get(0),
        )?;
        self.record.execute(params![
            account,
            batch.millis(statement.from),
            batch.millis(statement.to),
            number(amounts.groups),
            number(amounts.frames),
            number(amounts.bytes),
            number(amounts.fetches),
            number(amounts.datagrams),
            number(amounts.active_ms),
            statement.reason().map(|reason| reason.as_str()),
        ])?;
        if statement.is_final {
            self.close.execute([account])?;
        }
        Ok(())
    }
}

impl Batch {
    fn millis(&self, moment: Instant) -> i64 {
        let (now, wall) = self.at;
        wall.checked_sub(now.saturating_duration_since(moment)).map_or(0, wall::millis)
    }
}

/// SQLite's integers are signed; no counter gets that far.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
