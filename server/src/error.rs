//! Why moqgate did not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::admission::jwt::JwkError;
use crate::admission::keys::OpenError;
use crate::config::ConfigError;
use crate::ledger::ReportError;
use crate::store::StoreError;

/// A start that failed: one line for a human, exit code 2.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database cannot be used.
    #[error("data-dir: {0}")]
    Store(#[from] StoreError),
    /// The stream keys cannot be used.
    #[error(transparent)]
    Keys(#[from] OpenError),
    /// A key file for tokens cannot be used.
    #[error(transparent)]
    Jwk(#[from] JwkError),
    /// Nothing can be asked over HTTP.
    #[error("auth.url: {0}")]
    Client(String),
    /// The log filter is not one.
    #[error("log: {filter:?} is not a filter: {reason}")]
    Log {
        /// As configured.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen for {what} on {address}: {source}")]
    Bind {
        /// Protocol and transport.
        what: &'static str,
        /// As configured.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be read or a folder cannot be made.
    #[error("{key}: {}: {source}", path.display())]
    File {
        /// The configuration key that names it.
        key: &'static str,
        /// Its place.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A name cannot be looked up.
    #[error("webrtc.host: {host}: {source}")]
    Host {
        /// As configured.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("tls: {reason}")]
    Tls {
        /// What is wrong.
        reason: String,
    },
    /// There is no ledger to read.
    #[error("data-dir: is needed, the folder that a gateway was given")]
    NoDataDir,
    /// The ledger cannot be read.
    #[error("data-dir: {0}")]
    Report(#[from] ReportError),
    /// The passphrase has a length that no SRT peer can use.
    #[error("srt.passphrase: must have 10 to 79 bytes")]
    Passphrase,
    /// The clip of the demo cannot get in.
    #[error("demo: {0}")]
    Demo(&'static str),
    /// The system refused something else that is needed.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}
