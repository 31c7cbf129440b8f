//! Who may come in: stream keys, tokens, a webhook, anybody. One credential means the same over every protocol.

pub(crate) mod jwt;
pub(crate) mod keys;
mod kicks;
mod supervisor;
mod throttle;
pub(crate) mod webhook;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use jwt::{Jwt, looks_like_token};
use keys::{Key, Keys, digest, looks_like_secret};
pub(crate) use kicks::Kicks;
use moqgate_core::{
    Credential, Denied, DenyReason, Direction, Grant, Identity, Path, Pattern, Protocol, Request, Secret,
};
pub(crate) use supervisor::Supervisor;
use throttle::Throttle;
use webhook::Webhook;

/// Who decides.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    /// Who has no credential may do everything. `None`: unless something else is configured or stored.
    pub(crate) open: Option<bool>,
    /// Stream keys.
    pub(crate) keys: Option<Keys>,
    /// Tokens.
    pub(crate) jwt: Option<Jwt>,
    /// Somebody else.
    pub(crate) webhook: Option<Webhook>,
    /// What may be watched without a credential.
    pub(crate) anonymous_play: Vec<Pattern>,
    /// Who was sent away.
    pub(crate) kicks: Kicks,
    /// Who guesses.
    pub(crate) throttle: Throttle,
}

/// What a peer showed, whichever way its protocol carries it.
struct Shown<'a> {
    /// A secret: a token, a password, or a user name without one.
    secret: Option<&'a str>,
    /// A user name without a password: for SRT the id of a key, whose passphrase is the secret then.
    user: Option<&'a str>,
    /// A stream key in the place of a name.
    in_path: Option<&'a str>,
}

impl<'a> Shown<'a> {
    fn of(request: &'a Request) -> Self {
        let (secret, user) = match &request.credential {
            Credential::None => (None, None),
            Credential::Token(token) => (Some(token.expose()), None),
            Credential::User { user, password } if password.expose().is_empty() => {
                (Some(&**user), Some(&**user))
            }
            Credential::User { password, .. } => (Some(password.expose()), None),
        };
        let last = request.path.segments().last();
        Self { secret, user, in_path: last.filter(|name| looks_like_secret(name)) }
    }

    fn any(&self) -> Option<&'a str> {
        self.secret.or(self.in_path)
    }
}

impl Policy {
    /// Decides about a request.
    pub(crate) async fn decide(&self, request: &Request, now: SystemTime) -> Result<Grant, Denied> {
        let (shown, at) = (Shown::of(request), Instant::now());
        if shown.any().is_some()
            && !self.is_open()
            && let Some(wait) = self.throttle.wait(request.peer.ip(), at)
        {
            let detail =
                format!("too many wrong credentials from here; try again in {} s", wait.as_secs() + 1);
            return Err(Denied { reason: DenyReason::Overloaded, detail });
        }
        let grant = self.ask(request, &shown, now).await.inspect_err(|denied| {
            if let (DenyReason::Unauthorized, Some(secret)) = (denied.reason, shown.any()) {
                self.throttle.failed(request.peer.ip(), &digest(secret), at);
            }
        })?;
        let grant = cover(grant, request)?;
        let path = grant.path.as_ref().unwrap_or(&request.path);
        match self.kicks.wait(&grant.identity, path, request.direction, at) {
            Some(wait) => Err(Denied {
                reason: DenyReason::Forbidden,
                detail: format!("ended by the operator; try again in {} s", wait.as_secs() + 1),
            }),
            None => Ok(grant),
        }
    }

    /// The first that knows the credential decides.
    async fn ask(&self, request: &Request, shown: &Shown<'_>, now: SystemTime) -> Result<Grant, Denied> {
        if let Some(key) = self.key(request, shown).await {
            let mut grant = key.grant(request, now)?;
            // Without the name that a key in its place would have been.
            if shown.secret.is_none() && shown.in_path.is_some() {
                grant.path = Some(only_path(&key, request)?);
            }
            return Ok(grant);
        }
        if let (Some(jwt), Some(token)) = (&self.jwt, shown.secret.filter(|text| looks_like_token(text))) {
            return jwt.grant(token, now);
        }
        if shown.any().is_none()
            && let Some(grant) = self.anonymous(request)
        {
            return Ok(grant);
        }
        match (&self.webhook, shown.any()) {
            (Some(webhook), _) => webhook.grant(request, now).await,
            (None, _) if self.is_open() => Ok(everything(request)),
            (None, None) => {
                let detail = "a stream key or a token is needed".to_owned();
                Err(Denied { reason: DenyReason::Unauthorized, detail })
            }
            (None, Some(_)) => {
                let detail = "the stream key or token is not known".to_owned();
                Err(Denied { reason: DenyReason::Unauthorized, detail })
            }
        }
    }

    /// What a peer without a credential may do, if that is anything.
    fn anonymous(&self, request: &Request) -> Option<Grant> {
        if self.open == Some(true) || self.is_open() {
            return Some(everything(request));
        }
        let grant = Grant {
            subscribe: self.anonymous_play.clone(),
            ..Grant::new(Identity::Anonymous(request.peer.ip()))
        };
        cover(grant, request).ok()
    }

    /// Whether nothing is asked of anybody.
    pub(crate) fn is_open(&self) -> bool {
        let is_asked = self.jwt.is_some()
            || self.webhook.is_some()
            || !self.anonymous_play.is_empty()
            || self.keys.as_ref().is_some_and(|keys| !keys.is_empty());
        match self.open {
            Some(open) => open && !is_asked,
            None => !is_asked,
        }
    }

    /// The stream key that was shown. One that is not known may have been made a moment ago.
    async fn key(&self, request: &Request, shown: &Shown<'_>) -> Option<Arc<Key>> {
        let keys = self.keys.as_ref()?;
        let found = find(keys, request, shown);
        if found.is_some() || !shown.any().is_some_and(looks_like_secret) {
            return found;
        }
        keys.looked().await;
        find(keys, request, shown)
    }
}

fn find(keys: &Keys, request: &Request, shown: &Shown<'_>) -> Option<Arc<Key>> {
    if let Some(key) = shown.secret.and_then(|secret| keys.by_secret(secret)) {
        return Some(key);
    }
    // The handshake proves that an SRT peer knows the passphrase, so that its stream id, which everybody on the way can
    // read, need not hold a secret.
    if request.protocol == Protocol::Srt
        && let Some(key) = shown.user.and_then(|id| keys.by_id(id))
        && key.passphrase.is_some()
    {
        return Some(key);
    }
    shown.in_path.filter(|_| shown.secret.is_none()).and_then(|secret| keys.by_secret(secret))
}

fn only_path(key: &Key, request: &Request) -> Result<Path, Denied> {
    key.only_path(request.direction).ok_or_else(|| Denied {
        reason: DenyReason::BadRequest,
        detail: "the stream key is for several paths: name one, and the key beside it".to_owned(),
    })
}

fn everything(request: &Request) -> Grant {
    Grant::everything(Identity::Anonymous(request.peer.ip()))
}

/// The grant for this request, if it covers it.
fn cover(mut grant: Grant, request: &Request) -> Result<Grant, Denied> {
    let forbid = |detail: String| Err(Denied { reason: DenyReason::Forbidden, detail });
    let path = grant.path.as_ref().unwrap_or(&request.path);
    match request.direction {
        Direction::Publish if grant.publish.is_empty() => forbid("the credential may not publish".to_owned()),
        Direction::Publish if !grant.may_publish(path) => {
            forbid(format!("the credential may not publish {}", shown_path(path)))
        }
        Direction::Subscribe if grant.subscribe.is_empty() => {
            forbid("the credential may not play".to_owned())
        }
        Direction::Subscribe if !grant.may_subscribe(path) => {
            forbid(format!("the credential may not play {}", shown_path(path)))
        }
        Direction::Both if !grant.publish.iter().chain(&grant.subscribe).any(|set| set.reaches(path)) => {
            forbid(format!("the credential is for nothing below {:?}", shown_path(path)))
        }
        Direction::Both => {
            grant.root = request.path.clone();
            Ok(grant)
        }
        Direction::Publish | Direction::Subscribe => Ok(grant),
    }
}

/// A path that can be told: a stream key in the place of a name is not.
fn shown_path(path: &Path) -> String {
    let part = |segment: &str| match looks_like_secret(segment) {
        true => format!("{:?}", Secret::new(segment)),
        false => segment.to_owned(),
    };
    path.segments().map(part).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests;
