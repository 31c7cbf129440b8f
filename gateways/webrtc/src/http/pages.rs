//! The pages for people: a camera to publish, a broadcast to watch. They use the browser's own WebRTC and nothing else.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse};

const POLICY: (HeaderName, &str) = (
    header::CONTENT_SECURITY_POLICY,
    "default-src 'none'; connect-src 'self'; media-src 'self' blob:; script-src 'self' 'unsafe-inline'; style-src 'self'",
);

/// `GET /watch/{path}`
pub(super) async fn watch() -> impl IntoResponse {
    ([POLICY], Html(include_str!("watch.html")))
}

/// `GET /publish/{path}`
pub(super) async fn publish() -> impl IntoResponse {
    ([POLICY], Html(include_str!("publish.html")))
}

/// `GET /webrtc/page.js`
pub(super) async fn script() -> impl IntoResponse {
    let kind = HeaderValue::from_static("text/javascript; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], include_str!("page.js"))
}

/// `GET /webrtc/page.css`
pub(super) async fn style() -> impl IntoResponse {
    let kind = HeaderValue::from_static("text/css; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], include_str!("page.css"))
}
