//! What a webhook answers.

use std::time::{Duration, SystemTime};

use moqgate_core::{
    Denied, DenyReason, Direction, Grant, Identity, Limits, Path, Pattern, Protocol, Request, Secret,
};
use serde::Deserialize;

use super::super::keys::digest;
use crate::wall;

/// Longest sentence of a webhook that is shown to a peer.
const DETAIL_CHARS_MAX: usize = 200;

/// A decision that can be kept.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Allow(Box<Allowed>),
    Deny(DenyReason, String),
}

/// The body of a 200. Everything may be left out: then exactly what was asked for is allowed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Allowed {
    publish: Option<Vec<String>>,
    play: Option<Vec<String>>,
    path: Option<String>,
    tier: String,
    tenant: String,
    identity: Option<String>,
    passphrase: Option<String>,
    expires: Option<String>,
    bitrate: Option<u64>,
    viewers: Option<u64>,
    minutes: Option<u64>,
    relay: bool,
}

/// The body of a refusal, if it is a problem document (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

impl Answer {
    /// Of a 200 or 204.
    pub(super) fn allow(body: &[u8]) -> Result<Self, String> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::Allow(Box::default()));
        }
        // Serde would read a list as an object without names.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err("its answer is no grant: no object".to_owned());
        }
        let allowed: Allowed =
            serde_json::from_slice(body).map_err(|error| format!("its answer is no grant: {error}"))?;
        let texts = allowed.publish.iter().chain(&allowed.play).flatten();
        let bad = texts.map(|text| Pattern::new(text)).find_map(Result::err).map(|error| error.to_string());
        let bad = bad.or_else(|| wall::parse(allowed.expires.as_deref()?).err());
        let bad = bad.or_else(|| Path::new(allowed.path.as_deref()?).err().map(|error| error.to_string()));
        match bad {
            Some(problem) => Err(format!("its answer is no grant: {problem}")),
            None => Ok(Self::Allow(Box::new(allowed))),
        }
    }

    /// Of a 401 or 403.
    pub(super) fn deny(reason: DenyReason, body: &[u8]) -> Self {
        let detail =
            serde_json::from_slice::<Problem>(body).map(|problem| problem.detail).unwrap_or_default();
        let detail: String = detail.chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX).collect();
        Self::Deny(reason, if detail.is_empty() { "the webhook refused".to_owned() } else { detail })
    }

    /// The decision about a request.
    pub(super) fn decide(&self, request: &Request, now: SystemTime) -> Result<Grant, Denied> {
        let allowed = match self {
            Self::Allow(allowed) => allowed,
            Self::Deny(reason, detail) => return Err(Denied { reason: *reason, detail: detail.clone() }),
        };
        let expires = allowed.expires.as_deref().and_then(|text| wall::parse(text).ok());
        if expires.is_some_and(|end| end <= now) {
            let detail = "the credential has expired".to_owned();
            return Err(Denied { reason: DenyReason::Unauthorized, detail });
        }
        let path = allowed.path.as_deref().and_then(|text| Path::new(text).ok());
        let asked = vec![match request.direction {
            Direction::Both => Pattern::below(&request.path),
            Direction::Publish | Direction::Subscribe => {
                Pattern::exact(path.as_ref().unwrap_or(&request.path))
            }
        }];
        let nothing_said = allowed.publish.is_none() && allowed.play.is_none();
        let rights = |said: &Option<Vec<String>>, wanted: bool| match said {
            Some(texts) => texts.iter().filter_map(|text| Pattern::new(text).ok()).collect(),
            None if nothing_said && wanted => asked.clone(),
            None => Vec::new(),
        };
        Ok(Grant {
            publish: rights(&allowed.publish, request.direction != Direction::Subscribe),
            subscribe: rights(&allowed.play, request.direction != Direction::Publish),
            path,
            tier: allowed.tier.as_str().into(),
            tenant: allowed.tenant.as_str().into(),
            passphrase: passphrase(allowed, request),
            expires,
            limits: Limits {
                bitrate: allowed.bitrate,
                viewers: allowed.viewers,
                duration: allowed.minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60))),
            },
            relay: allowed.relay,
            ..Grant::new(allowed.holder(request))
        })
    }
}

impl Allowed {
    /// Who it is: as the webhook says, or else whoever shows the same credential.
    fn holder(&self, request: &Request) -> Identity {
        use moqgate_core::Credential;
        let shown = match (&self.identity, &request.credential) {
            (Some(name), _) => return Identity::Credential(format!("webhook:{name}").into()),
            (None, Credential::None) => return Identity::Anonymous(request.peer.ip()),
            (None, Credential::Token(token)) => token.expose().to_owned(),
            (None, Credential::User { user, password }) => format!("{user}\0{}", password.expose()),
        };
        let short: String = digest(&shown).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Identity::Credential(format!("webhook:{short}").into())
    }
}

fn passphrase(allowed: &Allowed, request: &Request) -> Option<Secret> {
    let said = allowed.passphrase.as_deref().filter(|_| request.protocol == Protocol::Srt);
    said.map(Secret::new)
}

#[cfg(test)]
mod tests {
    use moqgate_core::Credential;

    use super::*;

    fn request(direction: Direction, protocol: Protocol) -> Request {
        let path = Path::new("live/a").expect("a path");
        let credential = Credential::Token(Secret::new("x"));
        Request { protocol, direction, path, credential, peer: ([192, 0, 2, 1], 1).into() }
    }

    fn decide(body: &str, direction: Direction) -> Result<Grant, Denied> {
        let answer = Answer::allow(body.as_bytes()).unwrap_or_else(|problem| panic!("{body}: {problem}"));
        answer.decide(&request(direction, Protocol::Srt), SystemTime::UNIX_EPOCH + Duration::from_secs(100))
    }

    #[test]
    fn an_empty_answer_allows_exactly_what_was_asked_for() {
        for body in ["", " ", "{}"] {
            let grant = decide(body, Direction::Publish).expect("allowed");
            let path = |text| Path::new(text).expect("a path");
            assert!(grant.may_publish(&path("live/a")) && !grant.may_publish(&path("live/a/b")), "{body}");
            assert!(grant.subscribe.is_empty());
            let grant = decide(body, Direction::Both).expect("allowed");
            assert!(grant.may_publish(&path("live/a/b")) && grant.may_subscribe(&path("live/a")));
            assert!(!grant.may_subscribe(&path("live")));
        }
    }

    #[test]
    fn a_full_answer() {
        let body = r#"{"play":["live/*"],"path":"live/b","tier":"t","tenant":"n","identity":"i","expires":"1970-01-02",
            "passphrase":"correct horse","bitrate":1,"viewers":2,"minutes":3,"relay":true}"#;
        let grant = decide(body, Direction::Subscribe).expect("allowed");
        assert_eq!((&*grant.tier, &*grant.tenant), ("t", "n"));
        assert_eq!(grant.identity, Identity::Credential("webhook:i".into()));
        assert_eq!(grant.path, Path::new("live/b").ok());
        assert!(grant.publish.is_empty() && grant.relay && grant.passphrase.is_some());
        let limits = Limits { bitrate: Some(1), viewers: Some(2), duration: Some(Duration::from_secs(180)) };
        assert_eq!(grant.limits, limits);
        let expired = decide(r#"{"expires":"1970-01-01"}"#, Direction::Publish).expect_err("over");
        assert_eq!(expired.reason, DenyReason::Unauthorized);
    }

    #[test]
    fn what_is_no_answer_decides_nothing() {
        for body in [
            "[]",
            "no",
            r#"{"plya":[]}"#,
            r#"{"play":["a*b*"]}"#,
            r#"{"expires":"soon"}"#,
            r#"{"path":"a/*"}"#,
        ] {
            assert!(Answer::allow(body.as_bytes()).is_err(), "{body}");
        }
        let Answer::Deny(_, detail) = Answer::deny(DenyReason::Forbidden, b"{\"detail\":\"a\\nb\"}") else {
            panic!("a refusal")
        };
        assert_eq!(detail, "ab", "nothing breaks a line of the log");
    }
}
