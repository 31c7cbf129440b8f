//! `GET /api/v1/slo`: latency through this process.

use axum::Json;
use serde::Serialize;

/// The answer.
#[derive(Serialize)]
pub(super) struct Slo {
    /// One entry per broadcast and transport that was measured. Egress surfaces do not measure, so there is none.
    entries: [(); 0],
}

/// `GET /api/v1/slo`
pub(super) async fn entries() -> Json<Slo> {
    Json(Slo { entries: [] })
}
