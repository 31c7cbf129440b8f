//! The moqgate program: configuration in, listeners bound, one `ready` line, service, an orderly stop.

mod admission;
mod app;
mod bind;
mod calls;
mod client;
mod config;
mod demo;
mod entrance;
mod error;
mod http;
mod ledger;
mod log;
mod readiness;
mod ready;
mod shutdown;
mod signals;
mod stage;
mod stats;
mod store;
mod wall;

use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;

use clap::Parser as _;

use crate::app::App;
use crate::config::{Cli, Config, Mode};
use crate::error::StartError;
use crate::signals::Signals;

/// Nothing was started.
const EXIT_START: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(stderr(), "moqgate: {error}");
            ExitCode::from(EXIT_START)
        }
    }
}

async fn run(mut cli: Cli) -> Result<ExitCode, StartError> {
    let mode = cli.mode;
    if mode == Some(Mode::ConfigReference) {
        let printed = stdout().write_all(config::reference::markdown().as_bytes());
        return printed
            .map(|()| ExitCode::SUCCESS)
            .map_err(|source| StartError::System { what: "print", source });
    }
    if let Some(command) = cli.command.take() {
        return command.run(Config::load(cli)?).map(|()| ExitCode::SUCCESS);
    }
    let config = Config::load(cli)?;
    log::init(&config.log)?;
    let mut signals = Signals::install()?;
    let app = App::build(config, mode).await?;
    app.announce()?;
    let running = app.start();
    let reason = running.reason(&mut signals).await;
    Ok(running.stop(reason, signals.next()).await)
}
