//! `[auth]` and `[admin]`: what was written, and what it means.

use std::path::PathBuf;
use std::time::Duration;

use moqgate_core::{Pattern, Secret};
use reqwest::Url;
use serde::Deserialize;

use super::ConfigError;
use super::value::{Hidden, Span};
use crate::admission::webhook::WebhookConfig;

/// SRT callers give up after 3 s.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Encoders and players that come back at once do not ask again.
const WEBHOOK_CACHE: Duration = Duration::from_secs(5);
/// Longer than encoders keep trying by themselves with short pauses, shorter than a break of a programme.
const KICK_TIME: Duration = Duration::from_secs(300);
/// Shorter ones can be guessed.
const ADMIN_TOKEN_BYTES_MIN: usize = 16;

/// Who may decide.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AuthMode {
    /// Who has no credential may do everything.
    Open,
    /// Stream keys.
    Keys,
    /// Tokens.
    Jwt,
    /// The webhook.
    Webhook,
}

/// `[auth]`
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawAuth {
    /// What lets peers in, any of `open`, `keys`, `jwt`, `webhook`. Default: what else is configured here and the stream keys in `data-dir`; with none of them everybody may do everything.
    #[arg(
        id = "auth.mode",
        long = "auth",
        env = "MOQGATE_AUTH",
        value_name = "MODES",
        value_enum,
        value_delimiter = ','
    )]
    pub(crate) mode: Option<Vec<AuthMode>>,
    /// Key file that verifies tokens: a JWK or a set of them, as `moq auth generate` writes it; may be given many times. Default: none.
    #[arg(
        id = "auth.jwt-key",
        long = "auth-jwt-key",
        env = "MOQGATE_AUTH_JWT_KEY",
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub(crate) jwt_key: Option<Vec<PathBuf>>,
    /// Webhook that is asked with a POST, `http://` or `https://`. Default: none.
    #[arg(
        id = "auth.url",
        long = "auth-url",
        env = "MOQGATE_AUTH_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub(crate) url: Option<Hidden>,
    /// How long the webhook may take; who asks longer is refused. At most 10 s. Default: `2s`.
    #[arg(id = "auth.timeout", long = "auth-timeout", env = "MOQGATE_AUTH_TIMEOUT", value_name = "TIME")]
    pub(crate) timeout: Option<Span>,
    /// How long an answer of the webhook is used again that has no `Cache-Control`. Default: `5s`.
    #[arg(id = "auth.cache", long = "auth-cache", env = "MOQGATE_AUTH_CACHE", value_name = "TIME")]
    pub(crate) cache: Option<Span>,
    /// Let everybody in while the webhook does not answer. Default: `false`.
    #[arg(
        id = "auth.fail-open",
        long = "auth-fail-open",
        env = "MOQGATE_AUTH_FAIL_OPEN",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) fail_open: Option<bool>,
    /// What may be played without a credential: `live/**`, `**`; may be given many times. Default: nothing.
    #[arg(
        id = "auth.anonymous-play",
        long = "anonymous-play",
        env = "MOQGATE_ANONYMOUS_PLAY",
        value_name = "PATTERN",
        value_delimiter = ','
    )]
    pub(crate) anonymous_play: Option<Vec<String>>,
    /// How long whoever was ended over the API may not come back; `0s` lets them. Default: `5m`.
    #[arg(id = "auth.kick-time", long = "kick-time", env = "MOQGATE_KICK_TIME", value_name = "TIME")]
    pub(crate) kick_time: Option<Span>,
}

/// `[admin]`
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawAdmin {
    /// Token that changes over the API must show, as a bearer, at least 16 bytes. Default: none, only this machine may change anything.
    #[arg(
        id = "admin.token",
        long = "admin-token",
        env = "MOQGATE_ADMIN_TOKEN",
        value_name = "SECRET",
        hide_env_values = true
    )]
    pub(crate) token: Option<Hidden>,
    /// File with that token. Default: none.
    #[arg(
        id = "admin.token-file",
        long = "admin-token-file",
        env = "MOQGATE_ADMIN_TOKEN_FILE",
        value_name = "FILE"
    )]
    pub(crate) token_file: Option<PathBuf>,
}

/// Who lets peers in, and how.
#[derive(Debug)]
pub(crate) struct Auth {
    /// Who decides; `None` is whoever can.
    pub(crate) mode: Option<Vec<AuthMode>>,
    /// Keys of tokens.
    pub(crate) jwt_keys: Vec<PathBuf>,
    /// The webhook.
    pub(crate) webhook: Option<WebhookConfig>,
    /// What may be played without a credential.
    pub(crate) anonymous_play: Vec<Pattern>,
    /// How long a kick lasts.
    pub(crate) kick_time: Duration,
}

impl Auth {
    /// Whether that may decide.
    pub(crate) fn has(&self, mode: AuthMode) -> bool {
        self.mode.as_ref().is_none_or(|modes| modes.contains(&mode))
    }
}

pub(super) fn auth(raw: RawAuth, has_data_dir: bool) -> Result<Auth, ConfigError> {
    let said = |mode| raw.mode.as_ref().is_some_and(|modes| modes.contains(&mode));
    let jwt_keys = raw.jwt_key.clone().unwrap_or_default();
    if said(AuthMode::Keys) && !has_data_dir {
        return Err(ConfigError::value("auth.mode", "`keys` needs data-dir, where they are"));
    }
    if said(AuthMode::Jwt) && jwt_keys.is_empty() {
        return Err(ConfigError::value("auth.mode", "`jwt` needs auth.jwt-key"));
    }
    if said(AuthMode::Webhook) && raw.url.is_none() {
        return Err(ConfigError::value("auth.mode", "`webhook` needs auth.url"));
    }
    let span = |said: Option<Span>, default| said.map_or(default, |Span(span)| span);
    let timeout = span(raw.timeout, WEBHOOK_TIMEOUT);
    if timeout.is_zero() || timeout > Duration::from_secs(10) {
        return Err(ConfigError::value("auth.timeout", "must be more than 0 and at most 10 s"));
    }
    let webhook = |Hidden(url)| {
        let url = webhook_url(&url)?;
        let keep = span(raw.cache, WEBHOOK_CACHE);
        Ok(WebhookConfig { url, timeout, keep, fail_open: raw.fail_open.unwrap_or(false) })
    };
    let webhook = raw.url.clone().map(webhook).transpose()?;
    let pattern = |text: String| {
        Pattern::new(&text)
            .map_err(|error| ConfigError::value("auth.anonymous-play", format!("{text:?}: {error}")))
    };
    Ok(Auth {
        webhook,
        jwt_keys,
        anonymous_play: raw
            .anonymous_play
            .unwrap_or_default()
            .into_iter()
            .map(pattern)
            .collect::<Result<_, _>>()?,
        kick_time: span(raw.kick_time, KICK_TIME),
        mode: raw.mode,
    })
}

/// The text may hold a secret, so that it is not told.
fn webhook_url(text: &Secret) -> Result<Url, ConfigError> {
    match Url::parse(text.expose()) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(ConfigError::value("auth.url", "is not an http:// or https:// address")),
    }
}

pub(super) fn admin_token(raw: RawAdmin) -> Result<Option<Secret>, ConfigError> {
    let token = match (raw.token, raw.token_file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(ConfigError::value("admin.token", "contradicts admin.token-file"));
        }
        (Some(Hidden(token)), None) => token,
        (None, Some(path)) => {
            let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path, source })?;
            Secret::new(text.trim())
        }
    };
    if token.expose().len() < ADMIN_TOKEN_BYTES_MIN {
        return Err(ConfigError::value("admin.token", "must have at least 16 bytes"));
    }
    Ok(Some(token))
}
