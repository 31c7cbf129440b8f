//! WHIP and WHEP over HTTP.
//!
//! A POST with an offer makes a session, whose URL holds a secret of 128 bits: PATCH and DELETE there need nothing else,
//! but a credential that is shown must be the one that opened it. Every refusal is a problem document.

mod ask;
mod open;
mod pages;
mod resource;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, options};

use crate::error::Refusal;
use crate::listen::Shared;

pub use ask::Client;

/// Largest body, bytes: the longest offer that is read.
const BODY_MAX: usize = 64 << 10;
/// What clients send while they connect.
const FRAGMENT_TYPE: &str = "application/trickle-ice-sdpfrag";
const SDP_TYPE: &str = "application/sdp";

/// The routes of a listener.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/whip/{*path}", options(describe).post(open::whip).fallback(not_allowed))
        .route("/whep/{*path}", options(describe).post(open::whep).fallback(not_allowed))
        .route(
            "/webrtc/{id}",
            options(describe).patch(resource::patch).delete(resource::delete).fallback(not_allowed),
        )
        .route("/watch/{*path}", get(pages::watch))
        .route("/publish/{*path}", get(pages::publish))
        .route("/webrtc/page.js", get(pages::script))
        .route("/webrtc/page.css", get(pages::style))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn(cross_origin))
        .with_state(shared)
}

async fn not_allowed(method: Method) -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not for this resource"))
}

/// `OPTIONS`: what can be sent here, and through which servers.
async fn describe(State(shared): State<Arc<Shared>>) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert("accept-post", HeaderValue::from_static(SDP_TYPE));
    headers.insert("accept-patch", HeaderValue::from_static(FRAGMENT_TYPE));
    name_servers(&shared, headers);
    response
}

/// Names the STUN and TURN servers that clients should use.
fn name_servers(shared: &Shared, headers: &mut HeaderMap) {
    for server in &shared.config.ice_servers {
        if let Ok(link) = HeaderValue::from_str(&server.link()) {
            headers.append(header::LINK, link);
        }
    }
}

/// Any page may publish and watch: what it may do is decided by its credential, which no browser adds by itself.
async fn cross_origin(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "OPTIONS, POST, PATCH, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-Match"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Location, Link, ETag, Accept-Patch, Retry-After"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
