//! What can go wrong with a listener.

use std::io;
use std::net::SocketAddr;

/// Why a listener does not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be taken.
    #[error("cannot listen for RTMP on tcp {address}: {source}")]
    Socket {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
}
