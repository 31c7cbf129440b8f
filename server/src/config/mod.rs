//! Configuration in two stages: [`raw`] is what was written, [`Config`] is what it means.
//!
//! A flag wins over the environment, the environment over the file, the file over the defaults.

mod auth;
pub(crate) mod call;
pub(crate) mod cli;
mod error;
mod objective;
mod raw;
pub(crate) mod reference;
mod resolve;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::ledger::Export;
pub(crate) use auth::{Auth, AuthMode};
pub(crate) use cli::{Cli, Mode};
pub(crate) use error::ConfigError;
use moqgate_core::{Path, Secret};
pub(crate) use objective::Objective;
use url::Url;
pub(crate) use value::{Network, Span};

/// The architecture of one moqgate: what listens where, and with what.
#[derive(Debug)]
pub(crate) struct Config {
    /// Name of this machine in reports.
    pub(crate) node: String,
    /// Filter of the log.
    pub(crate) log: String,
    /// How long a stop waits for sessions to end.
    pub(crate) grace: Duration,
    /// Folder for what outlives a restart.
    pub(crate) data_dir: Option<PathBuf>,
    /// Latency that is promised.
    pub(crate) objectives: Vec<Objective>,
    /// Where relays are whose word is taken for how many viewers are behind them.
    pub(crate) trusted_relays: Vec<Network>,
    /// Whether usage is published as a broadcast.
    pub(crate) stats: bool,
    /// Certificate and key, PEM files; `None` is a self-signed one.
    pub(crate) tls: Option<Tls>,
    /// How long groups are kept.
    pub(crate) retention_age: Duration,
    /// How many payload bytes a track keeps beside its newest group.
    pub(crate) retention_bytes: usize,
    /// Native MoQ.
    pub(crate) moq: Option<SocketAddr>,
    /// SRT.
    pub(crate) srt: Option<Srt>,
    /// RTMP.
    pub(crate) rtmp: Option<Rtmp>,
    /// WebRTC.
    pub(crate) webrtc: Option<Webrtc>,
    /// HTTP API.
    pub(crate) http: Option<Http>,
    /// The usage ledger.
    pub(crate) usage: Usage,
    /// Who lets peers in.
    pub(crate) auth: Auth,
    /// What changes over the API must show.
    pub(crate) admin_token: Option<Secret>,
    /// Relays to dial, each once.
    pub(crate) relays: Vec<Relay>,
    /// Servers to push to.
    pub(crate) pushes: Vec<call::Call>,
    /// Servers to pull from.
    pub(crate) pulls: Vec<call::Call>,
}

/// Where certificate and key are.
#[derive(Debug)]
pub(crate) struct Tls {
    /// PEM, leaf first.
    pub(crate) cert: PathBuf,
    /// PEM.
    pub(crate) key: PathBuf,
}

/// What the SRT gateway needs.
#[derive(Debug)]
pub(crate) struct Srt {
    /// UDP address.
    pub(crate) listen: SocketAddr,
    /// Smallest receiver latency.
    pub(crate) latency: Duration,
    /// How long a player waits for its publisher.
    pub(crate) play_wait: Duration,
    /// Passphrase of every caller, 10 to 79 bytes.
    pub(crate) passphrase: Option<Secret>,
    /// Where a caller without a stream id publishes.
    pub(crate) default_path: Option<Path>,
}

/// What the RTMP gateway needs.
#[derive(Debug)]
pub(crate) struct Rtmp {
    /// TCP address.
    pub(crate) listen: SocketAddr,
    /// How long a player waits for its publisher.
    pub(crate) play_wait: Duration,
}

/// What the WebRTC gateway needs.
#[derive(Debug)]
pub(crate) struct Webrtc {
    /// Address of the media port, UDP and TCP.
    pub(crate) listen: SocketAddr,
    /// Addresses of a NAT in front of this machine, or names of them.
    pub(crate) hosts: Vec<String>,
    /// STUN and TURN servers for clients.
    pub(crate) ice_servers: Vec<IceServer>,
    /// How long an offer to watch waits for its broadcast.
    pub(crate) offer_wait: Duration,
    /// How long a player waits for its publisher to come back.
    pub(crate) play_wait: Duration,
}

/// A STUN or TURN server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IceServer {
    /// Its URI, without user and password.
    pub(crate) url: String,
    /// User and password of a TURN server.
    pub(crate) login: Option<(String, Secret)>,
}

/// What the HTTP API needs.
#[derive(Debug)]
pub(crate) struct Http {
    /// TCP address.
    pub(crate) listen: SocketAddr,
    /// Whether metrics carry broadcast and session labels.
    pub(crate) metrics_per_broadcast: bool,
}

/// How the usage ledger is kept.
#[derive(Debug)]
pub(crate) struct Usage {
    /// How often it is written.
    pub(crate) interval: Duration,
    /// How long records are kept.
    pub(crate) keep: Duration,
    /// Where records go.
    pub(crate) export: Option<Export>,
}

/// One relay to dial.
#[derive(Debug)]
pub(crate) struct Relay {
    /// `https://`, `http://`, `moqt://` or `moql://`.
    pub(crate) url: Url,
    /// What certificate to accept.
    pub(crate) trust: Trust,
}

/// Which certificate of a relay is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// One that an authority known to the system signed.
    System,
    /// The one with this SHA-256.
    Fingerprint([u8; 32]),
    /// Any.
    Anything,
}
