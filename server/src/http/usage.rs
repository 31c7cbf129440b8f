//! `GET /api/v1/usage`: what is billed. Numbers are the model's own; nothing is added or rounded here.

use std::time::SystemTime;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use moqgate_core::Path;
use moqgate_core::usage::{GaugeTotals, Row, SessionTotals, Snapshot, Totals};
use serde::{Deserialize, Serialize};

use super::{Api, Problem};
use crate::wall::rfc3339;

/// The query of the request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    path: Option<String>,
}

/// The answer, and the form of the periodic report.
#[derive(Serialize)]
pub(crate) struct Report {
    node: String,
    at: String,
    usage: Vec<Usage>,
    sessions: Vec<Sessions>,
}

#[derive(Serialize)]
pub(crate) struct Usage {
    path: String,
    tier: String,
    protocol: &'static str,
    /// A row that was dropped and came back starts at zero with a higher number.
    segment: u64,
    ingress: Side,
    egress: Side,
}

#[derive(Serialize)]
struct Side {
    groups: u64,
    frames: u64,
    bytes: u64,
    fetches: u64,
    datagrams: u64,
    announced: Gauge,
    active: Gauge,
    subscriptions: Gauge,
}

#[derive(Serialize)]
struct Gauge {
    opened: u64,
    closed: u64,
}

#[derive(Serialize)]
struct Sessions {
    tier: String,
    protocol: &'static str,
    #[serde(flatten)]
    gauge: Gauge,
}

impl Report {
    fn new(node: &str, at: SystemTime, snapshot: &Snapshot) -> Self {
        Self {
            node: node.to_owned(),
            at: rfc3339(at),
            usage: snapshot.usage.iter().map(Usage::from).collect(),
            sessions: snapshot.sessions.iter().map(Sessions::from).collect(),
        }
    }
}

impl From<&Row> for Usage {
    fn from(row: &Row) -> Self {
        Self {
            path: row.path.to_string(),
            tier: row.tier.to_string(),
            protocol: row.protocol.as_str(),
            segment: row.segment,
            ingress: row.ingress.into(),
            egress: row.egress.into(),
        }
    }
}

impl From<Totals> for Side {
    fn from(totals: Totals) -> Self {
        Self {
            groups: totals.groups,
            frames: totals.frames,
            bytes: totals.bytes,
            fetches: totals.fetches,
            datagrams: totals.datagrams,
            announced: totals.announced.into(),
            active: totals.active.into(),
            subscriptions: totals.subscriptions.into(),
        }
    }
}

impl From<GaugeTotals> for Gauge {
    fn from(totals: GaugeTotals) -> Self {
        Self { opened: totals.opened, closed: totals.closed }
    }
}

impl From<&SessionTotals> for Sessions {
    fn from(totals: &SessionTotals) -> Self {
        Self {
            tier: totals.tier.to_string(),
            protocol: totals.protocol.as_str(),
            gauge: totals.sessions.into(),
        }
    }
}

/// `GET /api/v1/usage[?path=…]`
pub(super) async fn report(
    State(api): State<Api>,
    query: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Report>, Problem> {
    let Query(filter) = query?;
    let path = filter.path.map(|path| Path::new(&path)).transpose();
    let path = path.map_err(|error| Problem::bad_request(format!("path: {error}")))?;
    let snapshot = api.origin.usage(path.as_ref());
    Ok(Json(Report::new(&api.node, SystemTime::now(), &snapshot)))
}
