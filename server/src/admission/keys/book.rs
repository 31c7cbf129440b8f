//! The keys of a running moqgate: a copy in memory, which is all that admission looks at, and the thread that may wait
//! for the disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use moqgate_core::Secret;
use rusqlite::Connection;
use subtle::ConstantTimeEq as _;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{Change, Digest, Key, KeyError, NewKey, digest, table};
use crate::store::{Store, StoreError};

/// How often the database is asked whether another process changed a key.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a peer with an unknown key waits for the database to be asked: longer than a disk takes, shorter than a
/// caller waits.
const LOOK_WAIT: Duration = Duration::from_millis(500);
/// Between two looks that unknown keys cause.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// The keys. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Keys(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    db: Mutex<Connection>,
    book: RwLock<Book>,
    wanted: Notify,
    looks: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Book {
    version: i64,
    by_digest: HashMap<Digest, Arc<Key>>,
    by_id: HashMap<String, Arc<Key>>,
}

impl Book {
    fn new(version: i64, keys: Vec<Key>) -> Self {
        let mut book = Self { version, ..Self::default() };
        for key in keys.into_iter().map(Arc::new) {
            book.by_digest.insert(key.digest, Arc::clone(&key));
            book.by_id.insert(key.id.clone(), key);
        }
        book
    }
}

impl Keys {
    /// Reads the keys of `store`.
    pub(crate) fn open(store: &Store) -> Result<Self, OpenError> {
        let db = store.connect()?;
        let book = Book::new(table::version(&db)?, table::all(&db)?);
        Ok(Self(Arc::new(Shared {
            db: Mutex::new(db),
            book: RwLock::new(book),
            wanted: Notify::new(),
            looks: watch::Sender::new(0),
        })))
    }

    /// Whether there has ever been a key.
    pub(crate) fn is_empty(&self) -> bool {
        self.book().by_id.is_empty()
    }

    /// The key of that id.
    pub(crate) fn by_id(&self, id: &str) -> Option<Arc<Key>> {
        self.book().by_id.get(id).cloned()
    }

    /// The key with that secret, as far as is known.
    pub(crate) fn by_secret(&self, secret: &str) -> Option<Arc<Key>> {
        let digest = digest(secret);
        let found = self.book().by_digest.get(&digest).cloned();
        found.filter(|key| bool::from(key.digest.ct_eq(&digest)))
    }

    /// Waits until the database was asked again, for who has a key that is not known and may just have been made.
    pub(crate) async fn looked(&self) {
        let mut looks = self.0.looks.subscribe();
        self.0.wanted.notify_one();
        tokio::time::timeout(LOOK_WAIT, looks.changed()).await.ok();
    }

    /// Follows the database until `stop`, and calls `changed` whenever a key is different.
    pub(crate) async fn follow(self, stop: CancellationToken, changed: impl Fn()) {
        let mut failing = false;
        loop {
            tokio::select! {
                biased;
                // 1. the stop
                () = stop.cancelled() => return,
                // 2. a peer with an unknown key
                () = self.0.wanted.notified() => {}
                // 3. the next look
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
            match self.work(Self::look).await {
                Ok(different) => {
                    failing = false;
                    if different {
                        changed();
                    }
                }
                Err(error) if !failing => {
                    failing = true;
                    error!(%error, "stream keys cannot be read; those known before still hold");
                }
                Err(_) => {}
            }
            self.0.looks.send_modify(|looks| *looks += 1);
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Every key, the oldest first.
    pub(crate) async fn list(&self) -> Result<Vec<Key>, KeyError> {
        self.work(|keys| table::all(&keys.db())).await
    }

    /// Makes a key.
    pub(crate) async fn add(&self, new: NewKey, now: SystemTime) -> Result<(Key, Secret), KeyError> {
        self.work(move |keys| {
            let made = table::add(&mut keys.db(), new, now)?;
            keys.reload()?;
            info!(key = made.0.id, "stream key made");
            Ok(made)
        })
        .await
    }

    /// Changes a key.
    pub(crate) async fn change(&self, id: String, wish: Change) -> Result<Key, KeyError> {
        self.work(move |keys| {
            let key = table::change(&mut keys.db(), &id, wish)?;
            keys.reload()?;
            info!(key = key.id, "stream key changed");
            Ok(key)
        })
        .await
    }

    /// Takes a key back.
    pub(crate) async fn revoke(&self, id: String, now: SystemTime) -> Result<Key, KeyError> {
        self.work(move |keys| {
            let key = table::revoke(&mut keys.db(), &id, now)?;
            keys.reload()?;
            info!(key = key.id, "stream key revoked");
            Ok(key)
        })
        .await
    }

    /// Gives a key another secret.
    pub(crate) async fn rotate(&self, id: String, now: SystemTime) -> Result<(Key, Secret), KeyError> {
        self.work(move |keys| {
            let made = table::rotate(&mut keys.db(), &id, now)?;
            keys.reload()?;
            info!(key = made.0.id, "stream key rotated");
            Ok(made)
        })
        .await
    }

    /// Takes seconds off the minutes of keys.
    pub(crate) async fn spend(&self, spent: Vec<(String, u64)>) -> Result<(), KeyError> {
        self.work(move |keys| {
            table::spend(&mut keys.db(), &spent)?;
            keys.reload()
        })
        .await
    }

    fn look(&self) -> Result<bool, KeyError> {
        let version = table::version(&self.db())?;
        if version == self.book().version {
            return Ok(false);
        }
        self.reload()?;
        Ok(true)
    }

    fn reload(&self) -> Result<(), KeyError> {
        let db = self.db();
        let book = Book::new(table::version(&db)?, table::all(&db)?);
        *self.0.book.write().unwrap_or_else(PoisonError::into_inner) = book;
        Ok(())
    }

    /// On a thread that may wait. The caller waits for it, so nothing is left behind at a stop but a statement that ends.
    async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Self) -> Result<T, KeyError> + Send + 'static,
    ) -> Result<T, KeyError> {
        let keys = self.clone();
        match tokio::task::spawn_blocking(move || job(&keys)).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(KeyError::Sqlite(rusqlite::Error::QueryReturnedNoRows)),
            },
        }
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        self.0.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self) -> std::sync::RwLockReadGuard<'_, Book> {
        self.0.book.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the keys cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpenError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its tables.
    #[error(transparent)]
    Key(#[from] KeyError),
}
