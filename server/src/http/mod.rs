//! The HTTP API: health, metrics, version 1 of the JSON API, and the dashboard.
//!
//! Every error is a problem document (RFC 9457); any page may read, none may change anything. What changes something, or
//! tells who has which key, is behind [`admin`].

mod admin;
mod broadcasts;
mod certificate;
mod cors;
mod health;
mod keys;
mod ledger;
mod listen;
mod metrics;
mod pages;
mod problem;
mod sessions;
mod slo;
pub(crate) mod usage;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{delete, get, post};
use moqgate_core::Origin;
use tokio::net::TcpListener;

use crate::admission::keys::Keys;
use crate::admission::{Kicks, Supervisor};
use crate::config::Objective;
use crate::entrance::Refusals;
use crate::ledger::{Rows, Status};
use crate::readiness::Readiness;
use crate::ready::Bound;
pub(crate) use admin::{Admin, Peer};
pub(crate) use certificate::router as certificate_router;
pub(crate) use metrics::{Calls, Gateways};
use problem::Problem;

/// What the handlers read.
#[derive(Clone)]
pub(crate) struct Api {
    /// The directory and its meter.
    pub(crate) origin: Origin,
    /// What the meter has dropped.
    pub(crate) rows: Rows,
    /// How the ledger is doing.
    pub(crate) ledger: Status,
    /// Whether there is a folder for it.
    pub(crate) keeps_ledger: bool,
    /// Who was turned away.
    pub(crate) refusals: Refusals,
    /// What the gateways count.
    pub(crate) gateways: Gateways,
    /// Name of this machine.
    pub(crate) node: Arc<str>,
    /// What listens where.
    pub(crate) bound: Bound,
    /// Whether new work is welcome.
    pub(crate) readiness: Readiness,
    /// Latency that is promised.
    pub(crate) objectives: Arc<[Objective]>,
    /// Who may come in, and who may change that.
    pub(crate) access: Access,
    /// Whether metrics carry broadcast and session labels.
    pub(crate) metrics_per_broadcast: bool,
}

/// Who may come in, and who may change that.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Stream keys, where they can be kept.
    pub(crate) keys: Option<Keys>,
    /// Who may not come back yet.
    pub(crate) kicks: Kicks,
    /// For how long.
    pub(crate) kick_time: Duration,
    /// Who ends what may not go on.
    pub(crate) supervisor: Supervisor,
    /// Who may change something.
    pub(crate) admin: Admin,
}

/// The routes of the HTTP port.
pub(crate) fn router(api: Api) -> Router {
    let guarded = Router::new()
        .route("/api/v1/sessions/{id}", delete(sessions::end))
        .route("/api/v1/keys", get(keys::list).post(keys::add))
        .route("/api/v1/keys/{id}", get(keys::get).patch(keys::change).delete(keys::revoke))
        .route("/api/v1/keys/{id}/rotate", post(keys::rotate))
        .route_layer(from_fn_with_state(api.clone(), admin::guard));
    let routes = Router::new()
        .merge(guarded)
        .route("/", get(pages::dashboard))
        .route("/watch", get(pages::watch))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::exposition))
        .route("/api/v1/broadcasts", get(broadcasts::list))
        .route("/api/v1/sessions", get(sessions::list))
        .route("/api/v1/usage", get(usage::report))
        .route("/api/v1/ledger", get(ledger::status))
        .route("/api/v1/slo", get(slo::entries))
        .with_state(api);
    finished(routes)
}

/// What every port has: problems instead of empty errors, and cross-origin reads.
fn finished(routes: Router) -> Router {
    routes
        .fallback(|uri: Uri| async move { Problem::not_found(format!("nothing is at {}", uri.path())) })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            Problem::method_not_allowed(format!("{} does not take {method}", uri.path()))
        })
        .layer(from_fn(cors::allow_reads))
}

/// Serves until `stop` resolves; requests that are being answered are finished.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    // The listener survives every error of accept, so serving ends only with `stop`.
    let routes = routes.layer(from_fn(name_client)).into_make_service_with_connect_info::<Peer>();
    let served = axum::serve(listen::Bounded::new(listener), routes).with_graceful_shutdown(stop).await;
    if let Err(error) = served {
        tracing::error!(%error, "HTTP ended");
    }
}

/// Tells handlers where the client is.
async fn name_client(mut request: Request, next: Next) -> Response {
    if let Some(ConnectInfo(Peer(peer))) = request.extensions().get().copied() {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        request.extensions_mut().insert(moqgate_webrtc::Client(peer));
    }
    next.run(request).await
}
