//! Stream keys as the API and the command line write them.

use std::time::SystemTime;

use moqgate_core::{Pattern, Secret};
use serde::{Deserialize, Serialize};

use super::Key;
use super::secret::generate_passphrase;
use crate::wall;

/// What libsrt accepts as a passphrase, in bytes.
const PASSPHRASE_BYTES: std::ops::RangeInclusive<usize> = 10..=79;
/// Asks for a passphrase that we choose.
const PASSPHRASE_AUTO: &str = "auto";
/// Patterns of one key: more is a wildcard that somebody did not think of.
const PATHS_MAX: usize = 32;
/// Labels, tiers and tenants are names.
const NAME_BYTES_MAX: usize = 128;
/// A number that SQLite and JSON readers hold without loss.
const NUMBER_MAX: u64 = 1 << 53;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    /// Publishing.
    Publish,
    /// Playing.
    Play,
    /// Publishing and playing.
    Both,
}

impl Way {
    /// Whether it lets publish.
    pub(crate) const fn publishes(self) -> bool {
        matches!(self, Self::Publish | Self::Both)
    }

    /// Whether it lets play.
    pub(crate) const fn plays(self) -> bool {
        matches!(self, Self::Play | Self::Both)
    }

    /// As it is written.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Play => "play",
            Self::Both => "both",
        }
    }
}

/// A key that somebody wants.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// Patterns, at least one.
    pub(crate) paths: Vec<String>,
    /// What it is for.
    pub(crate) direction: Way,
    /// For people.
    #[serde(default)]
    pub(crate) label: String,
    /// Splits usage.
    #[serde(default)]
    pub(crate) tier: String,
    /// Who pays.
    #[serde(default)]
    pub(crate) tenant: String,
    /// When it ends, RFC 3339.
    pub(crate) expires: Option<String>,
    /// What SRT peers must encrypt with; `auto` lets moqgate choose.
    pub(crate) passphrase: Option<String>,
    /// Payload bits per second of one publisher.
    pub(crate) bitrate: Option<u64>,
    /// Who may watch at once.
    pub(crate) viewers: Option<u64>,
    /// Minutes of sessions in all.
    pub(crate) minutes: Option<u64>,
}

/// What is to be different; what is left out stays, `null` takes a limit away.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Change {
    /// See [`NewKey`].
    pub(crate) paths: Option<Vec<String>>,
    /// See [`NewKey`].
    pub(crate) direction: Option<Way>,
    /// See [`NewKey`].
    pub(crate) label: Option<String>,
    /// See [`NewKey`].
    pub(crate) tier: Option<String>,
    /// See [`NewKey`].
    pub(crate) tenant: Option<String>,
    /// See [`NewKey`].
    #[serde(deserialize_with = "said")]
    pub(crate) expires: Option<Option<String>>,
    /// See [`NewKey`].
    #[serde(deserialize_with = "said")]
    pub(crate) passphrase: Option<Option<String>>,
    /// See [`NewKey`].
    #[serde(deserialize_with = "said")]
    pub(crate) bitrate: Option<Option<u64>>,
    /// See [`NewKey`].
    #[serde(deserialize_with = "said")]
    pub(crate) viewers: Option<Option<u64>>,
    /// See [`NewKey`].
    #[serde(deserialize_with = "said")]
    pub(crate) minutes: Option<Option<u64>>,
}

/// Tells `null` from nothing.
fn said<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// What is wrong with a wish. Names the field.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {problem}")]
pub(crate) struct SpecError {
    field: &'static str,
    problem: String,
}

fn wrong<T>(field: &'static str, problem: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError { field, problem: problem.into() })
}

/// The fields of a key that somebody can choose, checked.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    pub(super) paths: Vec<Pattern>,
    pub(super) way: Way,
    pub(super) label: String,
    pub(super) tier: String,
    pub(super) tenant: String,
    pub(super) expires: Option<SystemTime>,
    pub(super) passphrase: Option<Secret>,
    pub(super) bitrate: Option<u64>,
    pub(super) viewers: Option<u64>,
    pub(super) minutes: Option<u64>,
}

impl NewKey {
    pub(super) fn check(self) -> Result<Fields, SpecError> {
        Ok(Fields {
            paths: paths(self.paths)?,
            way: self.direction,
            label: name("label", self.label)?,
            tier: name("tier", self.tier)?,
            tenant: name("tenant", self.tenant)?,
            expires: self.expires.map(expires).transpose()?,
            passphrase: self.passphrase.map(passphrase).transpose()?,
            bitrate: number("bitrate", self.bitrate)?,
            viewers: number("viewers", self.viewers)?,
            minutes: number("minutes", self.minutes)?,
        })
    }
}

impl Change {
    /// The fields of `key` with the change applied.
    pub(super) fn apply(self, key: &Key) -> Result<Fields, SpecError> {
        let or = |said: Option<Option<u64>>, before: Option<u64>| said.unwrap_or(before);
        Ok(Fields {
            paths: self.paths.map_or_else(|| Ok(key.paths.clone()), paths)?,
            way: self.direction.unwrap_or(key.way),
            label: self.label.map_or_else(|| Ok(key.label.clone()), |text| name("label", text))?,
            tier: self.tier.map_or_else(|| Ok(key.tier.to_string()), |text| name("tier", text))?,
            tenant: self.tenant.map_or_else(|| Ok(key.tenant.to_string()), |text| name("tenant", text))?,
            expires: match self.expires {
                Some(said) => said.map(expires).transpose()?,
                None => key.expires,
            },
            passphrase: match self.passphrase {
                Some(said) => said.map(passphrase).transpose()?,
                None => key.passphrase.clone(),
            },
            bitrate: number("bitrate", or(self.bitrate, key.bitrate))?,
            viewers: number("viewers", or(self.viewers, key.viewers))?,
            minutes: number("minutes", or(self.minutes, key.minutes))?,
        })
    }
}

fn paths(texts: Vec<String>) -> Result<Vec<Pattern>, SpecError> {
    if texts.is_empty() || texts.len() > PATHS_MAX {
        return wrong("paths", format!("must be 1 to {PATHS_MAX} patterns"));
    }
    let pattern = |text: &String| match Pattern::new(text) {
        Ok(pattern) if pattern.to_string().is_empty() => {
            wrong("paths", "must not be empty; `**` is everything")
        }
        Ok(pattern) => Ok(pattern),
        Err(error) => wrong("paths", format!("{text:?}: {error}")),
    };
    texts.iter().map(pattern).collect()
}

fn name(field: &'static str, text: String) -> Result<String, SpecError> {
    if text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return wrong(field, format!("must be at most {NAME_BYTES_MAX} visible bytes"));
    }
    Ok(text)
}

fn expires(text: String) -> Result<SystemTime, SpecError> {
    wall::parse(&text).map_err(|problem| SpecError { field: "expires", problem })
}

fn passphrase(text: String) -> Result<Secret, SpecError> {
    if text == PASSPHRASE_AUTO {
        return Ok(generate_passphrase());
    }
    if !PASSPHRASE_BYTES.contains(&text.len()) {
        return wrong("passphrase", "must have 10 to 79 bytes, or be `auto`");
    }
    Ok(Secret::new(&text))
}

fn number(field: &'static str, number: Option<u64>) -> Result<Option<u64>, SpecError> {
    match number {
        Some(0) => wrong(field, "must not be 0; leave it out for no limit"),
        Some(number) if number > NUMBER_MAX => wrong(field, "is too large"),
        other => Ok(other),
    }
}

/// A key as it may be shown.
#[derive(Debug, Serialize)]
pub(crate) struct KeyView {
    /// Names it.
    pub(crate) id: String,
    label: String,
    paths: Vec<String>,
    direction: Way,
    tier: String,
    tenant: String,
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
    /// Whether SRT peers must encrypt.
    has_passphrase: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bitrate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    viewers: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minutes: Option<u64>,
    used_seconds: u64,
    /// The secret, the one time that it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<String>,
    /// The passphrase, when it was chosen just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) passphrase: Option<String>,
}

impl KeyView {
    /// With the secret and the passphrase, for whoever has just asked for them.
    pub(crate) fn fresh(key: &Key, secret: &Secret) -> Self {
        Self {
            secret: Some(secret.expose().to_owned()),
            passphrase: key.passphrase.as_ref().map(|passphrase| passphrase.expose().to_owned()),
            ..Self::from(key)
        }
    }

    /// One line for a terminal.
    pub(super) fn row(&self) -> [String; 9] {
        let state = match (&self.revoked, &self.expires) {
            (Some(at), _) => format!("revoked {at}"),
            (None, Some(at)) => format!("until {at}"),
            (None, None) => "valid".to_owned(),
        };
        let count = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        [
            self.id.clone(),
            self.label.clone(),
            self.direction.as_str().to_owned(),
            self.paths.join(" "),
            self.tenant.clone(),
            count(self.bitrate),
            count(self.viewers),
            self.minutes.map_or_else(|| "-".to_owned(), |all| format!("{}/{all}", self.used_seconds / 60)),
            state,
        ]
    }
}

impl From<&Key> for KeyView {
    fn from(key: &Key) -> Self {
        Self {
            id: key.id.clone(),
            label: key.label.clone(),
            paths: key.paths.iter().map(ToString::to_string).collect(),
            direction: key.way,
            tier: key.tier.to_string(),
            tenant: key.tenant.to_string(),
            created: wall::rfc3339(key.created),
            expires: key.expires.map(wall::rfc3339),
            revoked: key.revoked.map(wall::rfc3339),
            has_passphrase: key.passphrase.is_some(),
            bitrate: key.bitrate,
            viewers: key.viewers,
            minutes: key.minutes,
            used_seconds: key.used,
            secret: None,
            passphrase: None,
        }
    }
}
