//! Native Media over QUIC: moq-lite 03 to 06 over raw QUIC and WebTransport, both roles on every session.

pub mod config;
mod tls;
mod transport;

pub use config::{CertificateSource, Config, DialConfig, Trust};
pub use tls::{CertificateError, CertificateHash};
