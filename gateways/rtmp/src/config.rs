//! What the operator can set.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use moqgate_core::PlaceLimits;
use rustls::ServerConfig;

use crate::session::Limits;

/// Settings of one listener. `Config::default()` listens on port 1935 of every address and is open to everybody.
#[derive(Clone)]
pub struct Config {
    /// TCP address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The certificate for RTMPS on the same port, which is told apart by its first byte; without one there is no RTMPS.
    pub tls: Option<Arc<ServerConfig>>,
    /// How long a peer may take.
    pub limits: Limits,
    /// How long a player waits for a broadcast that nobody publishes yet, or whose publisher left; zero does not wait.
    pub play_wait: Duration,
    /// Most connections at once.
    pub max_connections: usize,
    /// Most connections at once from one IPv4 address or one IPv6 /64.
    pub max_connections_per_place: usize,
    /// Most connections at once that have neither published nor played yet.
    pub max_pending: usize,
    /// Most of those from one IPv4 address or one IPv6 /64.
    pub max_pending_per_place: usize,
}

impl Config {
    pub(crate) fn places(&self) -> PlaceLimits {
        PlaceLimits {
            all: self.max_connections,
            here: self.max_connections_per_place,
            pending: self.max_pending,
            pending_here: self.max_pending_per_place,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 1935)),
            tls: None,
            limits: Limits::default(),
            play_wait: Duration::from_secs(10),
            // A publisher of 600 kbit/s holds 16 KiB to read into and the picture under way.
            max_connections: 8192,
            max_connections_per_place: 4096,
            // Each is there for ten seconds at most, and holds 64 KiB at most.
            max_pending: 512,
            max_pending_per_place: 128,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("tls", &self.tls.is_some())
            .field("limits", &self.limits)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}
