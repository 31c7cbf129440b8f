//! `moqgate key`: stream keys at a terminal. It works on the database; a running moqgate notices within a second.

use std::fmt::Write as _;
use std::time::SystemTime;

use clap::{Args, Subcommand, ValueEnum};
use moqgate_core::Secret;

use super::book::OpenError;
use super::{Change, Key, KeyView, NewKey, Way, table};
use crate::store::Store;
use crate::wall;

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key. Its secret is printed once and can never be shown again.
    Add(AddArgs),
    /// List the keys, without their secrets.
    List {
        /// How to write it.
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Change what a key allows; `none` takes a limit away.
    Set(SetArgs),
    /// Take a key back for ever, and end its sessions.
    Revoke {
        /// The id of the key.
        id: String,
    },
    /// Give a key another secret, which is printed once, and end the sessions of the old one.
    Rotate {
        /// The id of the key.
        id: String,
    },
}

/// How a list is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For humans.
    Table,
    /// An array of objects, as the API has them.
    Json,
}

/// `moqgate key add`
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// What it is for: `live/cam0`, `live/*`, `live/**`; may be given many times.
    #[arg(long = "path", required = true, value_name = "PATTERN")]
    paths: Vec<String>,
    /// What it may do there.
    #[arg(long, value_enum, default_value_t = Way::Publish)]
    direction: Way,
    /// A name for people.
    #[arg(long, default_value = "", value_name = "NAME")]
    label: String,
    /// The label that splits usage.
    #[arg(long, default_value = "", value_name = "NAME")]
    tier: String,
    /// Who pays.
    #[arg(long, default_value = "", value_name = "NAME")]
    tenant: String,
    /// When it ends: `2026-12-31` or `2026-12-31T12:00:00Z`.
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// What SRT peers must encrypt with, 10 to 79 bytes; `auto` chooses one.
    #[arg(long, value_name = "SECRET")]
    passphrase: Option<String>,
    /// Most that one publisher may send, in payload bits per second: `6000000`, `6M`, `600k`.
    #[arg(long, value_name = "BITS", value_parser = bits)]
    bitrate: Option<u64>,
    /// How many may watch at once.
    #[arg(long, value_name = "COUNT")]
    viewers: Option<u64>,
    /// Minutes of sessions, in all.
    #[arg(long, value_name = "COUNT")]
    minutes: Option<u64>,
}

/// `moqgate key set`
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The id of the key.
    id: String,
    /// What it is for, instead of what it was for.
    #[arg(long = "path", value_name = "PATTERN")]
    paths: Option<Vec<String>>,
    /// What it may do there.
    #[arg(long, value_enum)]
    direction: Option<Way>,
    /// A name for people.
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
    /// The label that splits usage.
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// Who pays.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// When it ends.
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// What SRT peers must encrypt with.
    #[arg(long, value_name = "SECRET")]
    passphrase: Option<String>,
    /// Most that one publisher may send.
    #[arg(long, value_name = "BITS", value_parser = limit)]
    bitrate: Option<Limit>,
    /// How many may watch at once.
    #[arg(long, value_name = "COUNT", value_parser = limit)]
    viewers: Option<Limit>,
    /// Minutes of sessions, in all.
    #[arg(long, value_name = "COUNT", value_parser = limit)]
    minutes: Option<Limit>,
}

/// A limit, or that there is none.
#[derive(Clone, Copy, Debug)]
struct Limit(Option<u64>);

fn limit(text: &str) -> Result<Limit, String> {
    if text == "none" { Ok(Limit(None)) } else { bits(text).map(|number| Limit(Some(number))) }
}

/// A number with `k`, `M` or `G` behind it, which are powers of 1000.
fn bits(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        Some(b'G') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    number.ok_or_else(|| format!("{text:?} is not a number such as 6000000 or 6M"))
}

impl KeyCommand {
    /// Does it. What is to be printed.
    pub(crate) fn run(self, store: &Store, now: SystemTime) -> Result<String, OpenError> {
        let mut db = store.connect()?;
        Ok(match self {
            Self::Add(args) => {
                let (key, secret) = table::add(&mut db, args.wish(), now)?;
                shown_once(&key, &secret)
            }
            Self::List { format } => list(&table::all(&db)?, format),
            Self::Set(args) => {
                let (id, wish) = args.wish();
                format!("changed {}\n", table::change(&mut db, &id, wish)?.id)
            }
            Self::Revoke { id } => format!("revoked {}\n", table::revoke(&mut db, &id, now)?.id),
            Self::Rotate { id } => {
                let (key, secret) = table::rotate(&mut db, &id, now)?;
                shown_once(&key, &secret)
            }
        })
    }
}

impl AddArgs {
    fn wish(self) -> NewKey {
        NewKey {
            paths: self.paths,
            direction: self.direction,
            label: self.label,
            tier: self.tier,
            tenant: self.tenant,
            expires: self.expires,
            passphrase: self.passphrase,
            bitrate: self.bitrate,
            viewers: self.viewers,
            minutes: self.minutes,
        }
    }
}

impl SetArgs {
    fn wish(self) -> (String, Change) {
        let text = |said: Option<String>| said.map(|text| Some(text).filter(|text| text != "none"));
        let number = |said: Option<Limit>| said.map(|Limit(number)| number);
        let wish = Change {
            paths: self.paths,
            direction: self.direction,
            label: self.label,
            tier: self.tier,
            tenant: self.tenant,
            expires: text(self.expires),
            passphrase: text(self.passphrase),
            bitrate: number(self.bitrate),
            viewers: number(self.viewers),
            minutes: number(self.minutes),
        };
        (self.id, wish)
    }
}

fn shown_once(key: &Key, secret: &Secret) -> String {
    let mut text = format!("id {}\nsecret {}\n", key.id, secret.expose());
    if let Some(passphrase) = &key.passphrase {
        let _ = writeln!(text, "passphrase {}", passphrase.expose());
    }
    if let Some(expires) = key.expires {
        let _ = writeln!(text, "expires {}", wall::rfc3339(expires));
    }
    text
}

fn list(keys: &[Key], format: Format) -> String {
    let views: Vec<_> = keys.iter().map(KeyView::from).collect();
    match format {
        Format::Json => serde_json::to_string_pretty(&views).unwrap_or_default() + "\n",
        Format::Table => {
            let head =
                ["ID", "LABEL", "DIRECTION", "PATHS", "TENANT", "BITRATE", "VIEWERS", "MINUTES", "STATE"];
            let rows: Vec<_> =
                std::iter::once(head.map(str::to_owned)).chain(views.iter().map(KeyView::row)).collect();
            let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            let widths: Vec<_> = (0..head.len()).map(width).collect();
            rows.iter().fold(String::new(), |text, row| {
                let cells: Vec<_> =
                    row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
                text + cells.join("  ").trim_end() + "\n"
            })
        }
    }
}
