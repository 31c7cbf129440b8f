//! A listener and a client that speaks HTTP to it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use moqgate_core::{Gate, OpenAdmission, Origin, OriginConfig};
use moqgate_webrtc::{Client, Config, Listener, Metrics};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

pub(crate) const OFFER: &str = include_str!("offer.sdp");

/// A listener that runs.
pub(crate) struct Rig {
    pub(crate) origin: Origin,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) port: SocketAddr,
    router: Router,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Rig {
    pub(crate) fn start(config: Config) -> Self {
        let origin = Origin::new(OriginConfig::default());
        let gate = Gate::new(origin.clone(), Arc::new(OpenAdmission));
        let config = Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..config };
        let listener = Listener::bind(config, gate).expect("a free port");
        let (metrics, port, router) = (listener.metrics(), listener.local_addr(), listener.router());
        let stop = CancellationToken::new();
        let running = tokio::spawn(listener.run(stop.clone()));
        Self { origin, metrics, port, router, stop, running }
    }

    pub(crate) async fn send(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let client = Client(SocketAddr::from(([127, 0, 0, 1], 4000)));
        let mut request = Request::builder().method(method).uri(uri).extension(client);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.expect("a body");
        let body = String::from_utf8(body.to_vec()).expect("text");
        Answer { status: head.status, headers: head.headers, body }
    }

    /// An offer to publish.
    pub(crate) async fn publish(&self, path: &str, offer: &str) -> Answer {
        self.send("POST", &format!("/whip/{path}"), &[("content-type", "application/sdp")], offer).await
    }

    pub(crate) fn is_live(&self, path: &str) -> bool {
        self.origin.broadcasts().iter().any(|broadcast| broadcast.path.as_str() == path)
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.running.await.expect("it stops");
    }
}
