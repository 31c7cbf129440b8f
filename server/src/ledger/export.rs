//! The export: every record as a CloudEvent to one HTTP endpoint, in order, at least once, under an id that tells a repetition.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use moqgate_core::{Backoff, Secret};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, Response};
use rusqlite::params;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use super::record::Record;
use super::status::{Exported, Status};
use crate::client;
use crate::store::{Store, StoreError};

/// Half a megabyte: what endpoints take in one request.
const BATCH_MAX: u32 = 500;
/// CloudEvents 1.0, JSON batch format, which OpenMeter's ingest takes.
const BATCH_TYPE: &str = "application/cloudevents-batch+json";
/// An endpoint that thinks for longer will get the batch again.
const DEADLINE: Duration = Duration::from_secs(30);
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Soon enough after a repair that nobody waits for it.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How much of an endpoint's excuse is logged.
const EXCUSE_CHARS_MAX: usize = 200;

/// Where records go.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    /// `http://` or `https://`.
    pub(crate) url: Url,
    /// What to show there as a bearer token.
    pub(crate) token: Option<Token>,
}

/// Where the bearer token is.
#[derive(Clone, Debug)]
pub(crate) enum Token {
    /// Here.
    Here(Secret),
    /// In a file that is read for every request, so that it may change.
    File(PathBuf),
}

/// Exports one ledger.
pub(crate) struct Exporter {
    store: Store,
    export: Arc<Export>,
    client: Client,
    status: Status,
    backoff: Backoff,
}

/// Why a batch is not delivered, or not known to be.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the bearer token cannot be read: {0}")]
    Token(std::io::Error),
    #[error("the endpoint cannot be asked: {0}")]
    Request(String),
    #[error("the endpoint answers {status}: {excuse}")]
    Refused { status: u16, excuse: String },
    #[error("the records cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a blocking task was dropped")]
    Dropped,
}

/// What goes out at once.
struct Page {
    records: Vec<Record>,
    authorization: Option<String>,
}

impl Exporter {
    /// An exporter of the ledger in `store`. It goes on where the last one for the same URL stopped.
    pub(crate) fn new(store: Store, export: Export, status: Status) -> Result<Self, reqwest::Error> {
        let backoff = Backoff::new(RETRY_MIN, RETRY_MAX, rand::random());
        status.update(|reading| reading.export = Some(Exported::default()));
        Ok(Self { store, export: Arc::new(export), client: client::build(DEADLINE)?, status, backoff })
    }

    /// Exports until `stop` is cancelled. What is not exported by then is after the next start.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let work = async {
            loop {
                match self.next_batch().await {
                    Ok(0) => self.status.written().await,
                    Ok(count) => self.succeeded(count),
                    Err(error) => self.failed(&error).await,
                }
            }
        };
        tokio::select! {
            biased;
            // 1. the stop
            () = stop.cancelled() => {}
            // 2. the work, which never ends
            () = work => {}
        }
    }

    /// Delivers the oldest records that are not delivered; returns how many.
    async fn next_batch(&self) -> Result<usize, ExportError> {
        let Page { records, authorization } = self.blocking(read).await?;
        let Some(last) = records.last().map(|record| record.position) else { return Ok(0) };
        let events: Vec<Value> = records.iter().map(Record::event).collect();
        let mut request = self.client.post(self.export.url.clone()).header(CONTENT_TYPE, BATCH_TYPE);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let answer = request.body(serde_json::to_vec(&events)?).send().await.map_err(not_asked)?;
        if !answer.status().is_success() {
            return Err(refused(answer).await);
        }
        self.blocking(move |store, export, status| save(store, export, status, last)).await?;
        Ok(records.len())
    }

    /// Runs `work`, which waits for the disk, where that holds up nobody.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store, &Export, &Status) -> Result<T, ExportError> + Send + 'static,
    ) -> Result<T, ExportError> {
        let (store, export, status) = (self.store.clone(), Arc::clone(&self.export), self.status.clone());
        let task = tokio::task::spawn_blocking(move || work(&store, &export, &status));
        task.await.unwrap_or(Err(ExportError::Dropped))
    }

    fn succeeded(&mut self, count: usize) {
        self.backoff.reset();
        let was_failing = self.status.update_export(|export| {
            export.records += count as u64;
            export.failing.take().is_some()
        });
        if was_failing.unwrap_or(false) {
            info!("usage is exported again");
        }
    }

    async fn failed(&mut self, error: &ExportError) {
        let wait = self.backoff.next_wait();
        warn!(%error, retry_in = ?wait, "usage is not exported; it waits in the ledger");
        self.status.update_export(|export| {
            export.failures += 1;
            export.failing = Some(error.to_string());
        });
        tokio::time::sleep(wait).await;
    }
}

/// Every reason that is known, and no URL, which may hold a secret.
fn not_asked(error: reqwest::Error) -> ExportError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    ExportError::Request(text)
}

async fn refused(mut answer: Response) -> ExportError {
    let start = answer.chunk().await.ok().flatten().unwrap_or_default();
    let excuse = String::from_utf8_lossy(&start);
    let excuse = excuse.chars().filter(|c| !c.is_control()).take(EXCUSE_CHARS_MAX).collect();
    ExportError::Refused { status: answer.status().as_u16(), excuse }
}

fn read(store: &Store, export: &Export, status: &Status) -> Result<Page, ExportError> {
    let connection = store.connect()?;
    let sql = "SELECT ifnull(max(position), 0) FROM usage_exports WHERE endpoint = ?1";
    let position = connection.query_row(sql, [export.url.as_str()], |row| row.get(0))?;
    let records = Record::after(&connection, position, BATCH_MAX)?;
    let newest = "SELECT ifnull(max(position), 0) FROM usage_records";
    let newest: i64 = connection.query_row(newest, [], |row| row.get(0))?;
    let first = records.first();
    status.update_export(|export| {
        export.waiting =
            first.map_or(0, |first| u64::try_from(newest - first.position + 1).unwrap_or_default());
        export.oldest_ms = first.map(|first| first.to_ms);
    });
    let authorization = match &export.token {
        None => None,
        Some(Token::Here(secret)) => Some(format!("Bearer {}", secret.expose())),
        Some(Token::File(path)) => {
            let token = std::fs::read_to_string(path).map_err(ExportError::Token)?;
            Some(format!("Bearer {}", token.trim()))
        }
    };
    Ok(Page { records, authorization })
}

fn save(store: &Store, export: &Export, status: &Status, position: i64) -> Result<(), ExportError> {
    let sql = "INSERT INTO usage_exports VALUES (?1, ?2) ON CONFLICT (endpoint) DO UPDATE SET position = excluded.position";
    store.connect()?.execute(sql, params![export.url.as_str(), position])?;
    status.update_export(|export| (export.waiting, export.oldest_ms) = (0, None));
    Ok(())
}
