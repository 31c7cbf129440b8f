//! The listener: the media port, the engine, the sessions, and the routes that lead to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use moqgate_core::{Gate, Places};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::egress::{Common, Reordered};
use crate::engine::{self, Engine};
use crate::error::BindError;
use crate::hosts::{self, Hosts};
use crate::http;
use crate::metrics::Metrics;
use crate::port::{self, Port};
use crate::sdp::{Candidate, Transport};
use crate::sessions::Sessions;
use crate::transcode::Transcodes;

/// Most addresses that a client is told: a machine with many interfaces has a few that matter.
const ADDRESSES_MAX: usize = 8;

/// A bound listener.
pub struct Listener {
    port: Port,
    shared: Arc<Shared>,
}

/// What every session needs.
pub(crate) struct Shared {
    pub(crate) gate: Gate,
    pub(crate) config: Config,
    pub(crate) hosts: Hosts,
    pub(crate) engine: Engine,
    pub(crate) port: Arc<port::Shared>,
    pub(crate) sessions: Sessions,
    pub(crate) places: Arc<Places>,
    pub(crate) transcodes: Transcodes,
    pub(crate) reordered: Reordered,
    pub(crate) common: Common,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    local: SocketAddr,
}

impl Listener {
    /// Takes the port, UDP and TCP. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`], one clear line.
    pub fn bind(config: Config, gate: Gate) -> Result<Self, BindError> {
        let (tasks, metrics) = (TaskTracker::new(), Arc::<Metrics>::default());
        let address = config.listen;
        let port = Port::bind(address, Arc::clone(&metrics))
            .map_err(|source| BindError::Socket { address, source })?;
        let engine =
            Engine::new(Arc::clone(&metrics)).map_err(|error| BindError::Certificate(error.to_string()))?;
        let shared = Shared {
            gate,
            engine,
            port: Arc::clone(port.shared()),
            sessions: Sessions::default(),
            transcodes: Transcodes::default(),
            reordered: Reordered::default(),
            common: Common::default(),
            places: Places::new(config.places()),
            hosts: Hosts::new(config.hosts.clone(), config.host_names.clone()),
            metrics,
            tasks,
            stop: CancellationToken::new(),
            local: port.local_addr(),
            config,
        };
        Ok(Self { port, shared: Arc::new(shared) })
    }

    /// The address that was taken, UDP and TCP.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local
    }

    /// Counters of this listener; they outlive it.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.shared.metrics)
    }

    /// The routes for the HTTP port: `/whip/{path}`, `/whep/{path}`, the sessions below `/webrtc/`, and the pages
    /// `/publish/{path}` and `/watch/{path}`. Requests carry their [`Client`](crate::Client) as an extension.
    pub fn router(&self) -> Router {
        http::router(Arc::clone(&self.shared))
    }

    /// Serves until `shutdown`, then ends every session and waits for every task.
    pub async fn run(self, shutdown: CancellationToken) {
        self.shared.tasks.spawn(hosts::follow(Arc::clone(&self.shared), self.shared.stop.clone()));
        self.port.run(&self.shared.tasks, shutdown).await;
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
    /// Where the client at `client` may reach the media port, best first.
    pub(crate) fn candidates(&self, client: IpAddr) -> Vec<Candidate> {
        let mut addresses = self.hosts.addresses();
        let bound = self.local.ip();
        if bound.is_unspecified() {
            let v4_only = bound.is_ipv4();
            addresses.extend(engine::interfaces().into_iter().filter(|ip| !v4_only || ip.is_ipv4()));
            match client {
                IpAddr::V4(v4) if v4.is_loopback() => addresses.push(Ipv4Addr::LOCALHOST.into()),
                IpAddr::V6(v6) if v6.is_loopback() => addresses.push(Ipv6Addr::LOCALHOST.into()),
                IpAddr::V4(_) | IpAddr::V6(_) => {}
            }
        } else {
            addresses.push(bound.to_canonical());
        }
        if addresses.is_empty() {
            addresses.push(Ipv4Addr::LOCALHOST.into());
        }
        addresses.truncate(ADDRESSES_MAX);
        let port = self.local.port();
        let of = |transport| {
            addresses
                .iter()
                .map(move |ip| Candidate { address: SocketAddr::new(*ip, port), transport })
                .collect::<Vec<_>>()
        };
        [of(Transport::Udp), of(Transport::Tcp)].concat()
    }
}
