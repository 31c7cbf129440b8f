//! `/api/v1/keys`: stream keys. A secret is in the answer that made it, and in no other.

use std::time::SystemTime;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::{Api, Problem};
use crate::admission::keys::{Change, KeyError, KeyView, Keys, NewKey};

/// The answer to a list.
#[derive(Serialize)]
pub(super) struct List {
    keys: Vec<KeyView>,
}

type Id = Result<Path<String>, PathRejection>;

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unknown(_) => Self::not_found(error.to_string()),
            KeyError::Revoked(_) => Self::conflict(error.to_string()),
            KeyError::Spec(_) => Self::bad_request(error.to_string()),
            KeyError::Sqlite(error) => {
                tracing::error!(%error, "stream keys");
                Self::unavailable("the database does not answer; see the log")
            }
        }
    }
}

fn keys(api: &Api) -> Result<&Keys, Problem> {
    api.access.keys.as_ref().ok_or_else(|| Problem::unavailable("stream keys need a data-dir to be kept in"))
}

/// `GET /api/v1/keys`
pub(super) async fn list(State(api): State<Api>) -> Result<Json<List>, Problem> {
    let found = keys(&api)?.list().await?;
    Ok(Json(List { keys: found.iter().map(KeyView::from).collect() }))
}

/// `POST /api/v1/keys`
pub(super) async fn add(
    State(api): State<Api>,
    wish: Result<Json<NewKey>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(wish) = wish?;
    let (key, secret) = keys(&api)?.add(wish, SystemTime::now()).await?;
    Ok((StatusCode::CREATED, once(KeyView::fresh(&key, &secret))).into_response())
}

/// `GET /api/v1/keys/{id}`
pub(super) async fn get(State(api): State<Api>, id: Id) -> Result<Json<KeyView>, Problem> {
    let Path(id) = id?;
    let key = keys(&api)?.by_id(&id).ok_or(KeyError::Unknown(id))?;
    Ok(Json(KeyView::from(&*key)))
}

/// `PATCH /api/v1/keys/{id}`
pub(super) async fn change(
    State(api): State<Api>,
    id: Id,
    wish: Result<Json<Change>, JsonRejection>,
) -> Result<Json<KeyView>, Problem> {
    let (Path(id), Json(wish)) = (id?, wish?);
    let key = keys(&api)?.change(id, wish).await?;
    api.access.supervisor.look(SystemTime::now());
    Ok(Json(KeyView::from(&key)))
}

/// `DELETE /api/v1/keys/{id}`: it stays in the list, revoked.
pub(super) async fn revoke(State(api): State<Api>, id: Id) -> Result<StatusCode, Problem> {
    let Path(id) = id?;
    keys(&api)?.revoke(id, SystemTime::now()).await?;
    api.access.supervisor.look(SystemTime::now());
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/keys/{id}/rotate`
pub(super) async fn rotate(State(api): State<Api>, id: Id) -> Result<Response, Problem> {
    let Path(id) = id?;
    let (key, secret) = keys(&api)?.rotate(id, SystemTime::now()).await?;
    api.access.supervisor.look(SystemTime::now());
    Ok(once(KeyView::fresh(&key, &secret)))
}

/// An answer that nobody may keep.
fn once(view: KeyView) -> Response {
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    ([no_store], Json(view)).into_response()
}
