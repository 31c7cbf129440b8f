//! `moqgate usage`: what the ledger says, at a terminal.

use std::time::SystemTime;

use clap::{Args, Subcommand, ValueEnum};

use super::report::{self, Column, Query, ReportError};
use crate::store::Store;
use crate::wall;

/// What can be asked of the ledger.
#[derive(Debug, Subcommand)]
pub(crate) enum UsageCommand {
    /// Sum up what was recorded. It can be asked while moqgate runs.
    Report(ReportArgs),
}

/// `moqgate usage report`
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Records that ended after this: `2026-01-31` or `2026-01-31T12:00:00Z`. Default: all.
    #[arg(long, value_name = "TIME", value_parser = wall::parse)]
    from: Option<SystemTime>,
    /// Records that ended at this or before. Default: all.
    #[arg(long, value_name = "TIME", value_parser = wall::parse)]
    to: Option<SystemTime>,
    /// What makes a line, besides the direction.
    #[arg(
        long,
        value_name = "COLUMNS",
        value_enum,
        value_delimiter = ',',
        default_value = "tenant,path,protocol"
    )]
    by: Vec<Column>,
    /// How to write it.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Comma-separated values (RFC 4180), with a header.
    Csv,
    /// An array of objects.
    Json,
    /// For humans.
    Table,
}

impl UsageCommand {
    /// What is to be printed.
    pub(crate) fn run(self, store: &Store) -> Result<String, ReportError> {
        let Self::Report(args) = self;
        let query = Query { from: args.from, to: args.to, by: args.by };
        let lines = report::read(&store.connect()?, &query)?;
        Ok(match args.format {
            Format::Csv => report::csv(&query, &lines),
            Format::Json => report::json(&query, &lines),
            Format::Table => report::table(&query, &lines),
        })
    }
}
