//! What the operator can set.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use moqgate_core::{Path, Secret};

/// Settings of one listener. `Config::default()` listens on port 9000 of every address and is open to everybody.
#[derive(Debug, Clone)]
pub struct Config {
    /// UDP address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Receive latency. A caller that asks for more gets more, up to `max_latency`.
    pub latency: Duration,
    /// Most latency that a caller can ask for: its memory is rate times latency.
    pub max_latency: Duration,
    /// Passphrase that every caller must use, 10 to 79 bytes. One from admission comes before it.
    pub passphrase: Option<Secret>,
    /// Broadcast of a caller that sends no stream id; without it such a caller is refused.
    pub default_path: Option<Path>,
    /// Put before stream ids of one segment, as from vMix, which sends no application.
    pub default_app: Option<Path>,
    /// How long a player waits for a broadcast that nobody publishes yet, or whose publisher has gone; zero refuses it
    /// at once, and ends it with its publisher.
    pub play_wait: Duration,
    /// Most connections at once.
    pub max_connections: usize,
    /// Most connections at once from one IPv4 address or one IPv6 /64.
    pub max_connections_per_place: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 9000)),
            // libsrt's own.
            latency: Duration::from_millis(120),
            max_latency: Duration::from_secs(10),
            passphrase: None,
            default_path: None,
            default_app: None,
            // An encoder needs some seconds to start.
            play_wait: Duration::from_secs(10),
            // A buffer holds at most 8192 packets, 11 MiB, and honest ones far less.
            max_connections: 1024,
            max_connections_per_place: 512,
        }
    }
}
