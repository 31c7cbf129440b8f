//! What can go wrong, in words for operators and clients.

use std::io;
use std::net::SocketAddr;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use moqgate_core::{Denied, DenyReason};

use crate::sdp::SdpError;

/// Why a listener cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address cannot be used.
    #[error("cannot listen on {address}: {source}")]
    Socket {
        /// What was asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// No certificate can be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(String),
}

/// Why a request is refused: the status and one sentence, sent as problem details (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    detail: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The same refusal as the model names it, for the metrics.
    pub(crate) fn reason(&self) -> DenyReason {
        match self.status {
            StatusCode::UNAUTHORIZED => DenyReason::Unauthorized,
            StatusCode::FORBIDDEN => DenyReason::Forbidden,
            StatusCode::NOT_FOUND => DenyReason::NotFound,
            StatusCode::CONFLICT => DenyReason::Conflict,
            StatusCode::TOO_MANY_REQUESTS => DenyReason::Overloaded,
            StatusCode::SERVICE_UNAVAILABLE => DenyReason::Unavailable,
            _ => DenyReason::BadRequest,
        }
    }
}

impl From<SdpError> for Refusal {
    fn from(error: SdpError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let status = match denied.reason {
            DenyReason::BadRequest => StatusCode::BAD_REQUEST,
            DenyReason::Unauthorized => StatusCode::UNAUTHORIZED,
            DenyReason::Forbidden => StatusCode::FORBIDDEN,
            DenyReason::NotFound => StatusCode::NOT_FOUND,
            DenyReason::Conflict => StatusCode::CONFLICT,
            DenyReason::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            DenyReason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, denied.detail)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = serde_json::json!({
            "type": "about:blank",
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let retry = [StatusCode::NOT_FOUND, StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
        if retry.contains(&self.status) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}
