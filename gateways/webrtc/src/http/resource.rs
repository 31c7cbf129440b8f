//! What can be done to a session: candidates, a restart of ICE, its end (RFC 9725 sections 4.2 and 4.3).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use moqgate_core::Credential;

use super::ask;
use crate::error::Refusal;
use crate::listen::Shared;
use crate::sdp::Fragment;
use crate::sessions::Entry;

/// The session of that secret, for a client that shows no other credential than its own.
fn find(shared: &Shared, id: &str, headers: &HeaderMap, query: Option<&str>) -> Result<Arc<Entry>, Refusal> {
    let shown = ask::credential(headers, query)?;
    let entry = shared.sessions.get(id);
    let entry = entry.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "there is no such session"))?;
    if shown != Credential::None && shown != entry.credential {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "the session belongs to another credential"));
    }
    Ok(entry)
}

/// `DELETE`: the session ends.
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    find(&shared, &id, &headers, query.as_deref())?.end.cancel();
    Ok(StatusCode::OK)
}

/// `PATCH`: candidates of the client, or other ICE credentials, which restart ICE.
pub(super) async fn patch(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let entry = find(&shared, &id, &headers, query.as_deref())?;
    ask::is_type(&headers, super::FRAGMENT_TYPE)?;
    let wrong = || Refusal::new(StatusCode::BAD_REQUEST, "this is not a fragment of a session description");
    let fragment = std::str::from_utf8(&body).ok().and_then(Fragment::parse).ok_or_else(wrong)?;
    let restarts = match &fragment.credentials {
        Some((name, password)) if !entry.is_current(name, password).await => Some((name, password)),
        _ => None,
    };
    let condition = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    let current = entry.tag().await;
    // Clients that trickle without a condition are older than the rule (RFC 9725 section 4.3.1) and mean the session
    // that they have.
    if condition.is_some_and(|value| value != "*" && value.trim_matches('"') != current) {
        let detail = "the session has restarted since";
        return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, detail));
    }
    let Some((name, password)) = restarts else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    if condition.is_none() {
        let detail = "a restart needs If-Match";
        return Err(Refusal::new(StatusCode::PRECONDITION_REQUIRED, detail));
    }
    let (text, tag) = entry.restart(name, password).await?;
    let mut response = (StatusCode::OK, text).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(super::FRAGMENT_TYPE));
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{tag}\"")) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}
