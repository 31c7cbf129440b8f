//! What can go wrong with a listener.

use std::io;
use std::net::SocketAddr;

/// Why a listener does not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be taken.
    #[error("cannot listen for SRT on udp {address}: {source}")]
    Socket {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// The passphrase has a length that no libsrt peer can use.
    #[error("SRT passphrase must have 10 to 79 bytes")]
    Passphrase,
}
