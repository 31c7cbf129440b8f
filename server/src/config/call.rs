//! `[[push]]` and `[[pull]]`: servers elsewhere that are called.

use std::str::FromStr;

use moqgate_core::{Path, Secret};
use serde::Deserialize;

use super::resolve::{broadcast_path, fingerprint};
use super::value::Hidden;
use super::{ConfigError, Trust};

/// One of them as it is written: a table in a file, `PATH=URL` elsewhere.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawCall {
    /// The local broadcast.
    path: String,
    /// Keys and passwords stand in it.
    url: Hidden,
    /// The only certificate that is believed.
    tls_fingerprint: Option<String>,
}

impl FromStr for RawCall {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (path, url) = text.split_once('=').ok_or("must be PATH=URL")?;
        Ok(Self { path: path.to_owned(), url: Hidden(Secret::new(url)), tls_fingerprint: None })
    }
}

/// A server to call, and for which broadcast.
#[derive(Debug)]
pub(crate) struct Call {
    /// The local broadcast.
    pub(crate) path: Path,
    /// Whom to call.
    pub(crate) remote: Remote,
    /// What certificate to accept.
    pub(crate) trust: Trust,
}

/// An address, by its protocol.
#[derive(Debug)]
pub(crate) enum Remote {
    /// `srt://`
    Srt(moqgate_srt::Remote),
    /// `rtmp://` or `rtmps://`
    Rtmp(moqgate_rtmp::Remote),
}

/// Everything to push.
pub(super) fn pushes(raw: Option<Vec<RawCall>>) -> Result<Vec<Call>, ConfigError> {
    raw.unwrap_or_default().into_iter().map(|call| resolve("push", call)).collect()
}

/// Everything to pull. A broadcast has one source.
pub(super) fn pulls(raw: Option<Vec<RawCall>>) -> Result<Vec<Call>, ConfigError> {
    let mut calls: Vec<Call> = Vec::new();
    for call in raw.unwrap_or_default() {
        let call = resolve("pull", call)?;
        if calls.iter().any(|other| other.path == call.path) {
            return Err(ConfigError::value("pull", format!("{} has two sources", call.path)));
        }
        calls.push(call);
    }
    Ok(calls)
}

fn resolve(key: &'static str, raw: RawCall) -> Result<Call, ConfigError> {
    let path = broadcast_path(key, &raw.path)?;
    // The URL stays out of it: it may hold a key.
    let wrong = |what: &dyn std::fmt::Display| ConfigError::value(key, format!("the URL for {path} {what}"));
    let Hidden(url) = raw.url;
    let remote = match url.expose().split_once("://") {
        Some(("srt", _)) => Remote::Srt(moqgate_srt::Remote::parse(url.expose()).map_err(|e| wrong(&e))?),
        Some(("rtmp" | "rtmps", _)) => {
            Remote::Rtmp(moqgate_rtmp::Remote::parse(url.expose()).map_err(|e| wrong(&e))?)
        }
        _ => return Err(wrong(&"must begin with srt://, rtmp:// or rtmps://")),
    };
    let encrypted = matches!(&remote, Remote::Rtmp(remote) if remote.tls);
    let trust = match raw.tls_fingerprint {
        None => Trust::System,
        Some(_) if !encrypted => {
            return Err(wrong(&"has no certificate for tls-fingerprint: it is not rtmps://"));
        }
        Some(hex) => Trust::Fingerprint(fingerprint(key, &hex)?),
    };
    Ok(Call { path, remote, trust })
}
