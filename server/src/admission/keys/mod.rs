//! Stream keys: short random secrets that say who may publish or play what, until when, and how much of it.

mod book;
pub(crate) mod cli;
mod secret;
mod spec;
mod table;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) use book::{Keys, OpenError};
use moqgate_core::{
    Denied, DenyReason, Direction, Grant, Identity, Limits, Pattern, Protocol, Request, Secret,
};
pub(crate) use secret::{Digest, digest, looks_like_secret};
pub(crate) use spec::{Change, KeyView, NewKey, SpecError, Way};
pub(crate) use table::KeyError;

/// What stands before the id of a key in an identity.
const IDENTITY: &str = "key:";

/// One stream key, without its secret.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// Names it where its secret must not be shown.
    pub(crate) id: String,
    /// SHA-256 of the secret.
    pub(crate) digest: Digest,
    /// For people.
    pub(crate) label: String,
    /// What it is for.
    pub(crate) paths: Vec<Pattern>,
    /// Publishing, playing, or both.
    pub(crate) way: Way,
    /// Splits usage.
    pub(crate) tier: Arc<str>,
    /// Who pays.
    pub(crate) tenant: Arc<str>,
    /// When it was made.
    pub(crate) created: SystemTime,
    /// When it got its secret.
    pub(crate) changed: SystemTime,
    /// When it ends.
    pub(crate) expires: Option<SystemTime>,
    /// When it was taken back.
    pub(crate) revoked: Option<SystemTime>,
    /// What SRT peers must encrypt with.
    pub(crate) passphrase: Option<Secret>,
    /// Payload bits per second of one publisher.
    pub(crate) bitrate: Option<u64>,
    /// Who may watch at once.
    pub(crate) viewers: Option<u64>,
    /// Minutes of sessions, in all.
    pub(crate) minutes: Option<u64>,
    /// How much of the minutes is gone, in seconds.
    pub(crate) used: u64,
}

impl Key {
    /// What the key allows, if it is valid at all. Whether that covers the request is looked at by the caller.
    pub(crate) fn grant(&self, request: &Request, now: SystemTime) -> Result<Grant, Denied> {
        let deny = |reason, detail: &str| Err(Denied { reason, detail: detail.to_owned() });
        if self.revoked.is_some() {
            return deny(DenyReason::Unauthorized, "the stream key was revoked");
        }
        if self.expires.is_some_and(|end| end <= now) {
            return deny(DenyReason::Unauthorized, "the stream key has expired");
        }
        let left = self.left();
        if left.is_some_and(|left| left.is_zero()) {
            return deny(DenyReason::Overloaded, "the minutes of the stream key are used up");
        }
        let paths = |allowed: bool| if allowed { self.paths.clone() } else { Vec::new() };
        Ok(Grant {
            publish: paths(self.way.publishes()),
            subscribe: paths(self.way.plays()),
            tier: Arc::clone(&self.tier),
            tenant: Arc::clone(&self.tenant),
            passphrase: self.passphrase.clone().filter(|_| request.protocol == Protocol::Srt),
            expires: self.expires,
            limits: Limits { bitrate: self.bitrate, viewers: self.viewers, duration: left },
            ..Grant::new(self.identity())
        })
    }

    /// The one path that the key is for, if it is written without stars.
    pub(crate) fn only_path(&self, direction: Direction) -> Option<moqgate_core::Path> {
        match (self.paths.as_slice(), direction) {
            ([only], Direction::Publish | Direction::Subscribe) => only.literal(),
            _ => None,
        }
    }

    /// Whom its sessions belong to.
    pub(crate) fn identity(&self) -> Identity {
        Identity::Credential(format!("{IDENTITY}{}", self.id).into())
    }

    /// What is left of the minutes.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60).saturating_sub(self.used)))
    }
}

/// The id of the key that an identity stands for.
pub(crate) fn id_of(identity: &Identity) -> Option<&str> {
    match identity {
        Identity::Credential(name) => name.strip_prefix(IDENTITY),
        Identity::Anonymous(_) => None,
    }
}
