//! `GET /metrics`: usage by tier and protocol, sessions, refusals and links, for operators.
//!
//! Labels that grow with the number of broadcasts are left out unless they were asked for.

mod gateways;
mod latency;
mod ledger;
mod link;
mod text;
mod usage;

use axum::extract::State;
use axum::http::{HeaderName, header};

use super::Api;
pub(crate) use gateways::{Calls, Gateways};
use text::{Kind, Labels, Page};

const CONTENT_TYPE: (HeaderName, &str) = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");

/// `GET /metrics`
pub(super) async fn exposition(State(api): State<Api>) -> ([(HeaderName, &'static str); 1], String) {
    let mut page = Page::default();
    let build = Labels::default().with("version", env!("CARGO_PKG_VERSION")).with("node", &api.node);
    page.family("moqgate_build_info", "The program that answers; always 1.", Kind::Gauge, [(build, 1)]);
    let broadcasts = api.origin.broadcasts();
    page.family(
        "moqgate_broadcasts",
        "Broadcasts that are live here.",
        Kind::Gauge,
        [(Labels::default(), broadcasts.len())],
    );
    let (snapshot, dropped) = api.rows.read(&api.origin);
    usage::write(&mut page, &snapshot, &dropped, api.metrics_per_broadcast);
    usage::write_sessions(&mut page, &snapshot);
    latency::write(&mut page, &api.origin, &api.objectives, api.metrics_per_broadcast);
    link::write(&mut page, &api.origin.sessions(), api.metrics_per_broadcast);
    if api.keeps_ledger {
        ledger::write(&mut page, &api.ledger.read());
    }
    let refused = api.refusals.totals().into_iter().map(|((protocol, reason), count)| {
        (Labels::default().with("protocol", protocol.as_str()).with("reason", reason.as_str()), count)
    });
    page.family("moqgate_refused_total", "Peers that admission turned away.", Kind::Counter, refused);
    let ended = api.origin.killed().into_iter().map(|((protocol, reason), count)| {
        (Labels::default().with("protocol", protocol.as_str()).with("reason", reason.as_str()), count)
    });
    page.family("moqgate_sessions_ended_total", "Sessions that were ended from here.", Kind::Counter, ended);
    api.gateways.write(&mut page);
    ([CONTENT_TYPE], page.finish())
}
