//! The pages for people: what is live at `/`, and a player at `/watch`.

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::{Html, IntoResponse};

use super::{Api, Problem};

const DASHBOARD: &str = include_str!("dashboard.html");
const WATCH: &str = include_str!("watch.html");

const DASHBOARD_POLICY: (HeaderName, &str) = (
    header::CONTENT_SECURITY_POLICY,
    "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'",
);

/// `GET /`
pub(super) async fn dashboard() -> impl IntoResponse {
    ([DASHBOARD_POLICY], Html(DASHBOARD))
}

/// `GET /watch?name=…`: the released player, from the content delivery network that its readme names.
pub(super) async fn watch(State(api): State<Api>) -> Result<Html<String>, Problem> {
    let url = api.bound.moq_url("{host}").ok_or_else(|| Problem::not_found("MoQ is off"))?;
    Ok(Html(WATCH.replace("{moq_url}", &url)))
}
