//! Admission by somebody else's business logic: a POST to `auth.url`, whose answer is kept for a while.

mod answer;
mod cache;

use std::time::{Duration, Instant, SystemTime};

use answer::Answer;
use cache::Cache;
use moqgate_core::{Credential, Denied, DenyReason, Direction, Grant, Request};
use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::keys::Digest;

/// Longest answer: a grant is some hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest time that an answer may ask to be kept for.
const KEEP_MAX: Duration = Duration::from_secs(3600);

/// How to ask.
#[derive(Clone, Debug)]
pub(crate) struct WebhookConfig {
    /// Whom.
    pub(crate) url: Url,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
    /// How long an answer is kept that does not say so itself.
    pub(crate) keep: Duration,
    /// Whether everybody is let in while nobody answers.
    pub(crate) fail_open: bool,
}

/// Asks, and remembers.
#[derive(Debug)]
pub(crate) struct Webhook {
    config: WebhookConfig,
    client: Client,
    cache: Cache,
    node: String,
}

impl Webhook {
    /// Asks nobody yet.
    pub(crate) fn new(config: WebhookConfig, node: &str) -> Result<Self, reqwest::Error> {
        let client = crate::client::build(config.timeout)?;
        Ok(Self { config, client, cache: Cache::default(), node: node.to_owned() })
    }

    /// What the webhook allows. Whether that covers the request is looked at by the caller.
    pub(crate) async fn grant(&self, request: &Request, now: SystemTime) -> Result<Grant, Denied> {
        let question = question(request, &self.node);
        let key = fingerprint(&question);
        let at = Instant::now();
        if let Some(known) = self.cache.get(&key, at) {
            return known.decide(request, now);
        }
        match self.ask(&question).await {
            Ok((answer, keep)) => {
                let decision = answer.decide(request, now);
                self.cache.put(key, answer, at + keep.min(KEEP_MAX), at);
                decision
            }
            Err(problem) => {
                warn!(host = self.config.url.host_str(), problem, "the webhook does not decide");
                match self.config.fail_open {
                    true => Ok(Grant::everything(moqgate_core::Identity::Anonymous(request.peer.ip()))),
                    false => Err(Denied {
                        reason: DenyReason::Unavailable,
                        detail: "what decides about admission does not answer".to_owned(),
                    }),
                }
            }
        }
    }

    /// Within the deadline of the client, which covers the body too.
    async fn ask(&self, question: &Value) -> Result<(Answer, Duration), String> {
        let post = self.client.post(self.config.url.clone()).header(CONTENT_TYPE, "application/json");
        let response = post.body(question.to_string()).send().await.map_err(problem)?;
        let keep = max_age(response.headers()).unwrap_or(self.config.keep);
        let status = response.status();
        let answer = match status {
            StatusCode::OK | StatusCode::NO_CONTENT => Answer::allow(&body(response).await?)?,
            StatusCode::UNAUTHORIZED => Answer::deny(DenyReason::Unauthorized, &body(response).await?),
            StatusCode::FORBIDDEN => Answer::deny(DenyReason::Forbidden, &body(response).await?),
            StatusCode::NOT_FOUND => Answer::deny(DenyReason::NotFound, &body(response).await?),
            StatusCode::TOO_MANY_REQUESTS => Answer::deny(DenyReason::Overloaded, &body(response).await?),
            other => return Err(format!("it answered {}", other.as_u16())),
        };
        Ok((answer, keep))
    }
}

/// Without the URL, which may hold a secret.
fn problem(error: reqwest::Error) -> String {
    match error.is_timeout() {
        true => "it did not answer in time".to_owned(),
        false => error.without_url().to_string(),
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(problem)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err("its answer is too long".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// `max-age` or `no-store` of `Cache-Control` (RFC 9111).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get(CACHE_CONTROL)?.to_str().ok()?.to_ascii_lowercase();
    let mut directives = said.split(',').map(str::trim);
    if directives.clone().any(|directive| matches!(directive, "no-store" | "no-cache")) {
        return Some(Duration::ZERO);
    }
    let seconds = directives.find_map(|directive| directive.strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

fn question(request: &Request, node: &str) -> Value {
    let credential = match &request.credential {
        Credential::None => Value::Null,
        Credential::Token(token) => json!({"token": token.expose()}),
        Credential::User { user, password } => json!({"user": &**user, "password": password.expose()}),
    };
    json!({
        "node": node,
        "protocol": request.protocol.as_str(),
        "direction": match request.direction {
            Direction::Publish => "publish",
            Direction::Subscribe => "play",
            Direction::Both => "both",
        },
        "path": request.path.as_str(),
        "peer": request.peer.ip().to_canonical().to_string(),
        "credential": credential,
    })
}

/// Everything that the answer may depend on, without keeping a secret.
fn fingerprint(question: &Value) -> Digest {
    Sha256::digest(question.to_string().as_bytes()).into()
}
