//! What can be wrong with the database.

use std::io;
use std::path::PathBuf;

/// Why the database cannot be opened. One line for a human.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    /// The file cannot be made.
    #[error("{}: {source}", file.display())]
    File {
        /// The database.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("{}: {source}", file.display())]
    Sqlite {
        /// The database.
        file: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// Another process answers for it.
    #[error("{}: another moqgate runs on it: give each a data-dir of its own", file.display())]
    InUse {
        /// The database.
        file: PathBuf,
    },
    /// A newer moqgate has changed the form of the tables.
    #[error("{}: it has version {found}, and this moqgate knows {known}: use a newer one", file.display())]
    Newer {
        /// The database.
        file: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
}
