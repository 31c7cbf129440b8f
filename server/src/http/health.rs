//! Whether the process lives, and whether it wants more work.

use axum::extract::State;

use super::Problem;
use crate::readiness::Readiness;

/// `GET /healthz`: the process answers, so it is alive.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the listeners were bound before the API was, so only a stop makes this process unready.
pub(super) async fn readyz(State(readiness): State<Readiness>) -> Result<&'static str, Problem> {
    match readiness.is_draining() {
        true => Err(Problem::unavailable("draining: no new sessions are accepted")),
        false => Ok("ready\n"),
    }
}
