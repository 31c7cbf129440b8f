//! `GET /api/v1/ledger`: whether usage gets to the disk.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Api;
use crate::wall::rfc3339;

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
    })
}
