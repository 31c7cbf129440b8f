//! The one database of a machine: SQLite, `moqgate.sqlite` in the data folder.
//!
//! Whoever keeps something there adds a migration and works on a connection of its own, from a thread that may wait for
//! the disk. Nothing in the path of media does.

mod error;

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use error::StoreError;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

/// The name of the file in the data folder.
const FILE: &str = "moqgate.sqlite";
/// Beside the database: what a gateway locks while it runs. SQLite's own locks come and go with transactions.
const CLAIM_EXTENSION: &str = "lock";
/// Stream keys are in it.
const FILE_MODE: u32 = 0o600;
/// How long a writer waits for another one: longer than a backup or a stalled disk takes to come back.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// The write-ahead log is cut back to this size after a checkpoint, in bytes.
const WAL_BYTES_MAX: u32 = 8 << 20;

/// The steps from an empty file to the newest form, each applied once and in order. `user_version` counts them; a step
/// that was released is never edited.
const MIGRATIONS: &[&str] =
    &[include_str!("migrations/0001_usage.sql"), include_str!("migrations/0002_stream_keys.sql")];

/// The newest form.
const NEWEST: i64 = MIGRATIONS.len() as i64;

/// The database, in its newest form. It holds no connection.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    file: PathBuf,
}

/// See [`Store::claim`].
#[derive(Debug)]
pub(crate) struct Claim {
    /// Locked until it is closed.
    _file: File,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.display().fmt(f)
    }
}

impl Store {
    /// Makes the database in `folder`, which exists, or brings what is there to the newest form.
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let store = Self { file: folder.join(FILE) };
        // SQLite gives its side files the mode of the main one.
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(FILE_MODE);
        options.open(&store.file).map_err(|source| StoreError::File { file: store.file.clone(), source })?;
        let mut connection = store.connect()?;
        store.wrap(connection.pragma_update(None, "journal_mode", "WAL"))?;
        store.migrate(&mut connection)?;
        Ok(store)
    }

    /// The database in `folder`, which somebody else made and may be working with.
    pub(crate) fn existing(folder: &Path) -> Result<Self, StoreError> {
        let store = Self { file: folder.join(FILE) };
        store.migrate(&mut store.connect()?)?;
        Ok(store)
    }

    /// Makes this process the only one that answers for what is in the database, until the claim is dropped or the process
    /// ends. Others may still read and write.
    pub(crate) fn claim(&self) -> Result<Claim, StoreError> {
        let path = self.file.with_extension(CLAIM_EXTENSION);
        let failed = |source| StoreError::File { file: path.clone(), source };
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Claim { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { file: self.file.clone() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// A connection that reads and writes. It may block its thread for as long as the disk does, and on another writer
    /// for [`BUSY_TIMEOUT`].
    pub(crate) fn connect(&self) -> Result<Connection, StoreError> {
        self.wrap(self.configured())
    }

    fn configured(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.file, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // A commit is on the disk when it returns, also when the power fails right after it. There are few of them.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
        Ok(connection)
    }

    fn migrate(&self, connection: &mut Connection) -> Result<(), StoreError> {
        if self.wrap(version(connection))? == NEWEST {
            return Ok(());
        }
        // Another process may be at it as well: whoever comes second looks again.
        let transaction = self.wrap(connection.transaction_with_behavior(TransactionBehavior::Immediate))?;
        let found = self.wrap(version(&transaction))?;
        let Some(missing) = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found..)) else {
            return Err(StoreError::Newer { file: self.file.clone(), found, known: NEWEST });
        };
        self.wrap(apply(transaction, missing))
    }

    /// What SQLite said, with the name of the file.
    pub(crate) fn error(&self, source: rusqlite::Error) -> StoreError {
        StoreError::Sqlite { file: self.file.clone(), source }
    }

    fn wrap<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|source| self.error(source))
    }
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn apply(transaction: Transaction<'_>, steps: &[&str]) -> rusqlite::Result<()> {
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", NEWEST)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_made_once_and_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a new database");
        let insert = "INSERT INTO usage_exports VALUES ('http://a', 7)";
        store.connect().expect("it opens").execute_batch(insert).expect("the table is there");
        let again = Store::open(folder.path()).expect("the same database");
        let connection = again.connect().expect("it opens");
        let read = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        assert_eq!(read("SELECT position FROM usage_exports"), Ok(7));
        assert_eq!(version(&connection), Ok(NEWEST));
        let mode: String =
            connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).expect("known");
        assert_eq!(mode, "wal");
        let file = std::fs::metadata(folder.path().join(FILE)).expect("it is there");
        assert_eq!(file.permissions().mode() & 0o777, FILE_MODE);
    }

    #[test]
    fn one_gateway_at_a_time_answers_for_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a new database");
        let claim = store.claim().expect("nobody else is there");
        let error = store.claim().expect_err("somebody is there").to_string();
        assert!(error.contains("another moqgate"), "{error}");
        drop(claim);
        store.claim().expect("nobody is there any more");
    }

    #[test]
    fn a_newer_one_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a new database");
        let newer = NEWEST + 1;
        store.connect().expect("it opens").pragma_update(None, "user_version", newer).expect("it is written");
        let error = Store::open(folder.path()).expect_err("too new").to_string();
        assert!(error.contains(&format!("version {newer}")) && !error.contains('\n'), "{error}");
    }

    #[test]
    fn what_is_no_database_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(FILE), "this is not a database, and long enough to tell")
            .expect("written");
        let error = Store::open(folder.path()).expect_err("no database").to_string();
        assert!(error.contains(FILE), "{error}");
    }
}
