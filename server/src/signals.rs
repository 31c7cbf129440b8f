//! The signals that stop this process.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::StartError;

/// SIGTERM and SIGINT. Made before anything listens, so that none is lost.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes both signals over from the system.
    pub(crate) fn install() -> Result<Self, StartError> {
        let take =
            |kind| signal(kind).map_err(|source| StartError::System { what: "take over signals", source });
        Ok(Self { terminate: take(SignalKind::terminate())?, interrupt: take(SignalKind::interrupt())? })
    }

    /// Waits for the next of them and returns its name. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
