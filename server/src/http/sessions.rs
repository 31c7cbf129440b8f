//! `/api/v1/sessions`: who is connected, and how to end that.

use std::net::SocketAddr;
use std::time::{Instant, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use moqgate_core::{KillReason, SessionSnapshot};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Api, Problem};
use crate::config::Span;
use crate::wall::rfc3339;

/// Integers below 2^53 are exact.
const COUNT_MAX: f64 = 9_007_199_254_740_992.0;

/// The answer.
#[derive(Serialize)]
pub(super) struct Sessions {
    sessions: Vec<Session>,
}

#[derive(Serialize)]
struct Session {
    id: String,
    protocol: &'static str,
    direction: &'static str,
    path: String,
    tier: String,
    tenant: String,
    /// Whose credential it showed: `key:` and the id of a stream key, `jwt:` or `webhook:` and a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
    peer: String,
    since: String,
    /// What the gateway knows of the link, by name; absent where a protocol knows nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<Map<String, Value>>,
}

impl From<SessionSnapshot> for Session {
    fn from(session: SessionSnapshot) -> Self {
        let link: Map<_, _> =
            session.link.into_iter().map(|(name, value)| (name.to_owned(), number(value))).collect();
        Self {
            id: session.id.to_string(),
            protocol: session.protocol.as_str(),
            direction: session.direction.as_str(),
            path: session.path.to_string(),
            tier: session.tier.to_string(),
            tenant: session.tenant.to_string(),
            credential: session.holder.map(|holder| holder.to_string()),
            peer: SocketAddr::new(session.peer.ip().to_canonical(), session.peer.port()).to_string(),
            since: rfc3339(UNIX_EPOCH + session.since),
            link: (!link.is_empty()).then_some(link),
        }
    }
}

/// A count is written without a fraction.
fn number(value: f64) -> Value {
    match value.fract() == 0.0 && value.abs() < COUNT_MAX {
        true => Value::from(value as i64),
        false => Value::from(value),
    }
}

/// `GET /api/v1/sessions`
pub(super) async fn list(State(api): State<Api>) -> Json<Sessions> {
    Json(Sessions { sessions: api.origin.sessions().into_iter().map(Session::from).collect() })
}

/// The query of a `DELETE`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kick {
    /// How long the peer may not come back, instead of the configured time.
    r#for: Option<Span>,
}

/// `DELETE /api/v1/sessions/{id}[?for=10m]`: it stays away for a while.
pub(super) async fn end(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
    kick: Result<Query<Kick>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    let (Path(id), Query(kick)) = (id?, kick?);
    let time = kick.r#for.map_or(api.access.kick_time, |Span(time)| time);
    let ended = api.origin.enforce(|session| {
        let is_it = **session.id == *id;
        // First of all, so that it is not back before.
        is_it.then(|| api.access.kicks.add(session, time, Instant::now())).map(|()| KillReason::Operator)
    });
    match ended > 0 {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found(format!("there is no session {id:?}"))),
    }
}
