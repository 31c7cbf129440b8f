//! Native Media over QUIC: moq-lite 03 to 06 over raw QUIC and WebTransport, both roles on every session.
//!
//! A [`Listener`] serves one UDP port, a [`Dialer`] keeps one session to a relay. Both bring peers to a
//! [`moqgate_core::Gate`]: what a peer announces becomes broadcasts of the origin, what the origin holds is announced to
//! the peer.
//!
//! > Usage is charged by the model, at its two doors. Nothing here counts what is billed; [`Metrics`] is for operators.

mod config;
mod connect;
mod dial;
mod egress;
mod handshake;
mod ingest;
mod link;
mod listen;
mod metrics;
mod session;
mod tls;
mod transport;
pub mod wire;

pub use config::{CertificateSource, Config, DEFAULT_PORT, DialConfig, Trust};
pub use dial::Dialer;
pub use listen::{BindError, Listener};
pub use metrics::Metrics;
pub use tls::{CertificateError, CertificateHash, TrustError, tls_client};
