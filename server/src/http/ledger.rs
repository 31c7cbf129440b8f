//! `GET /api/v1/ledger`: whether usage gets to the disk.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Api;
use crate::ledger::Exported;
use crate::wall::rfc3339;

const MILLIS_PER_SECOND: f64 = 1e3;

/// The answer.
#[derive(Serialize)]
pub(super) struct Ledger {
    /// Whether there is a folder for it.
    enabled: bool,
    /// Records on the disk, since the start.
    records: u64,
    /// When everything that had been used was last on the disk.
    written_at: Option<String>,
    /// Sessions whose usage waits in memory because writing failed.
    waiting: u64,
    /// Ended sessions that were put together because too many waited.
    folded: u64,
    /// Attempts to write that failed.
    failures: u64,
    /// Why the last one failed; null once one succeeds.
    failing: Option<String>,
    /// Where records go from here; null without that.
    export: Option<Export>,
}

#[derive(Serialize)]
struct Export {
    /// Records that the endpoint has taken, since the start.
    records: u64,
    /// Records that it has not taken.
    lag_records: u64,
    /// How old the oldest of them is.
    lag_seconds: f64,
    /// Requests that failed.
    failures: u64,
    /// Why the last one failed; null once one succeeds.
    failing: Option<String>,
}

impl From<Exported> for Export {
    fn from(export: Exported) -> Self {
        Self {
            records: export.records,
            lag_records: export.waiting,
            lag_seconds: export.lag_ms() as f64 / MILLIS_PER_SECOND,
            failures: export.failures,
            failing: export.failing,
        }
    }
}

/// `GET /api/v1/ledger`
pub(super) async fn status(State(api): State<Api>) -> Json<Ledger> {
    let reading = api.ledger.read();
    Json(Ledger {
        enabled: api.keeps_ledger,
        records: reading.records,
        written_at: reading.written_at.map(rfc3339),
        waiting: reading.waiting,
        folded: reading.folded,
        failures: reading.failures,
        failing: reading.failing,
        export: reading.export.map(Export::from),
    })
}
