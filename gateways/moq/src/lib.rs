//! Native Media over QUIC: moq-lite 03 to 06 over raw QUIC and WebTransport, both roles on every session.

mod config;
mod tls;
mod transport;
pub mod wire;

pub use config::{CertificateSource, Config, DEFAULT_PORT, DialConfig, Trust};
pub use tls::{CertificateError, CertificateHash};
