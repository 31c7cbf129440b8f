//! Whether the process lives, and whether it wants more work.

use axum::extract::State;

use super::{Api, Problem};

/// `GET /healthz`: the process answers, so it is alive.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the listeners were bound before the API was, so only a stop makes this process unready. A ledger that cannot be
/// written does not, since media goes on; it is said.
pub(super) async fn readyz(State(api): State<Api>) -> Result<String, Problem> {
    if api.readiness.is_draining() {
        return Err(Problem::unavailable("draining: no new sessions are accepted"));
    }
    Ok(match api.ledger.read().failing {
        Some(reason) => format!("ready\nusage is not written, it waits in memory: {reason}\n"),
        None => "ready\n".to_owned(),
    })
}
