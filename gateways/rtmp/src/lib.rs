//! The RTMP gateway of moqgate: encoders that push and players that play RTMP 1.0, enhanced RTMP v1 and v2
//! included, over TCP or TLS.
//!
//! ```text
//! listen -> connection (one task per peer) -> session -> ingest -> moqgate_mux::flv -> moqgate_core
//!                                                └─ proto ─┘  <- egress <-
//! ```
//!
//! The protocol is sans-IO: [`proto`] reads and writes the wire, [`session`] is one connection and is told the time.
//! [`Listener`] and [`Caller`] are their shells.

mod admit;
mod caller;
pub mod config;
mod connection;
mod egress;
pub mod error;
mod ingest;
mod line;
pub mod listen;
pub mod metrics;
pub mod proto;
pub mod remote;
pub mod session;
mod stats;

pub use caller::{Caller, CallerConfig, Way};
pub use config::Config;
pub use error::BindError;
pub use listen::Listener;
pub use metrics::Metrics;
pub use remote::{Remote, RemoteError};
