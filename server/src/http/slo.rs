//! `GET /api/v1/slo`: latency through this process, and what was promised of it.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use moqgate_core::{Latency, ObjectiveReading, Observed};
use serde::Serialize;

use super::Api;
use crate::config::Objective;

/// The answer.
#[derive(Serialize)]
pub(super) struct Slo {
    /// One for every live broadcast and transport over which it left, sorted so.
    entries: Vec<Entry>,
    /// One for every objective, in the order of the configuration.
    objectives: Vec<Promise>,
}

/// The last samples of a broadcast and transport.
#[derive(Serialize)]
struct Entry {
    broadcast: String,
    transport: &'static str,
    p50_ms: u64,
    p95_ms: u64,
    p99_ms: u64,
    max_ms: u64,
    sample_count: usize,
    total_observed: u64,
}

/// An objective and how it fares.
#[derive(Serialize)]
struct Promise {
    broadcast: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<&'static str>,
    percentile: f64,
    below_ms: u64,
    window_s: u64,
    #[serde(flatten)]
    all: Kept,
    /// Each of the broadcasts by itself.
    broadcasts: Vec<Share>,
}

/// Frames within the window, those that took too long, and the part of the allowance that is left of them.
#[derive(Serialize)]
struct Kept {
    frames: u64,
    slow: u64,
    budget_left: f64,
}

#[derive(Serialize)]
struct Share {
    broadcast: String,
    transport: &'static str,
    #[serde(flatten)]
    kept: Kept,
}

impl From<Latency> for Entry {
    fn from(latency: Latency) -> Self {
        Self {
            broadcast: latency.broadcast.to_string(),
            transport: latency.transport.as_str(),
            p50_ms: millis(latency.p50),
            p95_ms: millis(latency.p95),
            p99_ms: millis(latency.p99),
            max_ms: millis(latency.max),
            sample_count: latency.sample_count,
            total_observed: latency.total_observed,
        }
    }
}

impl Promise {
    fn new(objective: &Objective, reading: ObjectiveReading) -> Self {
        let kept = |observed: Observed| Kept {
            frames: observed.frames,
            slow: observed.slow,
            budget_left: objective.budget_left(observed),
        };
        let share = |(path, transport, observed): (moqgate_core::Path, moqgate_core::Protocol, _)| Share {
            broadcast: path.to_string(),
            transport: transport.as_str(),
            kept: kept(observed),
        };
        let counted = &objective.counted;
        Self {
            broadcast: counted.broadcasts.to_string(),
            transport: counted.transport.map(moqgate_core::Protocol::as_str),
            percentile: objective.percentile,
            below_ms: millis(counted.below),
            window_s: counted.window.as_secs(),
            all: kept(reading.all),
            broadcasts: reading.each.into_iter().map(share).collect(),
        }
    }
}

/// Rounded to the nearest.
fn millis(duration: Duration) -> u64 {
    u64::try_from((duration.as_micros() + 500) / 1000).unwrap_or(u64::MAX)
}

/// `GET /api/v1/slo`
pub(super) async fn entries(State(api): State<Api>) -> Json<Slo> {
    let readings = api.origin.objectives(Instant::now());
    Json(Slo {
        entries: api.origin.latencies().into_iter().map(Entry::from).collect(),
        objectives: api.objectives.iter().zip(readings).map(|(o, r)| Promise::new(o, r)).collect(),
    })
}
