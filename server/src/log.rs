//! The log: lines on standard error, since standard output belongs to the `ready` line.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;

use crate::error::StartError;

/// Starts the log of this process; once.
pub(crate) fn init(filter: &str) -> Result<(), StartError> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| StartError::Log { filter: filter.to_owned(), reason: error.to_string() })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .init();
    Ok(())
}
