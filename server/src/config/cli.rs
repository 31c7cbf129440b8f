//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::raw::Raw;

/// Media ingest gateway: SRT goes in, Media over QUIC comes out, every byte is counted.
#[derive(Debug, Parser)]
#[command(
    name = "moqgate",
    version,
    after_help = "ADDR is IP:PORT, or PORT for every address; port 0 picks a free one, `off` turns the listener off."
)]
pub(crate) struct Cli {
    /// What to run; without it, the gateway.
    #[arg(value_enum)]
    pub(crate) mode: Option<Mode>,
    /// Configuration file, TOML. Flags and the environment win over it.
    #[arg(long, env = "MOQGATE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Everything that the file can say too.
    #[command(flatten)]
    pub(crate) raw: Raw,
}

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// The gateway, and a bundled clip that plays into it without an end.
    Demo,
    /// Print the reference of all configuration keys as Markdown.
    #[value(hide = true)]
    ConfigReference,
}
