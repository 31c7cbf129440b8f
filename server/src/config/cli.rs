//! The command line.

use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Parser, Subcommand, ValueEnum};

use super::Config;
use super::raw::Raw;
use crate::admission::keys::cli::KeyCommand;
use crate::app::open_store;
use crate::error::StartError;
use crate::ledger::cli::UsageCommand;
use crate::store::Store;

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
    /// Something to do with what an earlier or running gateway stored.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Configuration file, TOML. Flags and the environment win over it.
    #[arg(long, global = true, env = "MOQGATE_CONFIG", value_name = "FILE")]
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

/// What works on the database of the data folder instead of running the gateway.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What was used, from the ledger in the data folder.
    #[command(subcommand)]
    Usage(UsageCommand),
    /// Stream keys: who may publish and play what. It works while moqgate runs, which notices within a second.
    #[command(subcommand)]
    Key(KeyCommand),
}

impl Command {
    /// Does it and prints the result.
    pub(crate) fn run(self, config: Config) -> Result<(), StartError> {
        let folder = config.data_dir.ok_or(StartError::NoDataDir)?;
        let text = match self {
            Self::Usage(command) => command.run(&Store::existing(&folder)?)?,
            Self::Key(command) => command.run(&open_store(&folder)?, SystemTime::now())?,
        };
        stdout().write_all(text.as_bytes()).map_err(|source| StartError::System { what: "print", source })
    }
}
