//! The log: lines on standard error, since standard output belongs to the `ready` line.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;

use crate::error::StartError;

/// Libraries that call what peers send an error, as if it were ours.
const QUIET: &str =
    "rtc=off,rtc_ice=off,rtc_dtls=off,rtc_srtp=off,rtc_interceptor=off,rtc_sctp=off,rtc_stun=off";

/// Starts the log of this process; once.
pub(crate) fn init(filter: &str) -> Result<(), StartError> {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))
        .map_err(|error| StartError::Log { filter: filter.to_owned(), reason: error.to_string() })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .init();
    Ok(())
}
