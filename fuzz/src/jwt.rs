//! Tokens. A program has no library to depend on, so that its module is taken in as it stands.

#[path = "../../server/src/admission/jwt/mod.rs"]
mod tokens;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moqgate_core::{Grant, Path, Pattern};
use ring::hmac;
use serde_json::Value;
use tokens::{JwkError, Jwt, looks_like_token};

/// For nothing else.
const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";
/// `{"alg":"HS256","typ":"JWT"}`
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

fn verifier() -> &'static Jwt {
    static VERIFIER: OnceLock<Jwt> = OnceLock::new();
    VERIFIER.get_or_init(|| load().expect("the key is right"))
}

fn load() -> Result<Jwt, JwkError> {
    Jwt::load(&[PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/jwt.jwk"))])
}

/// A hundred seconds after the Unix epoch.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(100)
}

/// A token of these claims, rightly signed.
fn sign(claims: &[u8]) -> String {
    let said = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), said.as_bytes());
    format!("{said}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

/// What begins like an object is the claims of a token, everything else a token.
pub(crate) fn token(data: &[u8]) {
    if data.first() != Some(&b'{') {
        if let Ok(text) = std::str::from_utf8(data) {
            let _ = verifier().grant(text, now());
        }
        return;
    }
    let token = sign(data);
    assert!(looks_like_token(&token));
    let Ok(grant) = verifier().grant(&token, now()) else { return };
    // A claim that is not looked at may hold bytes that are no text.
    if let Ok(claims) = serde_json::from_slice(data) {
        promised(&grant, &claims);
    }
    let again = verifier().grant(&token, now()).map(|grant| format!("{grant:?}"));
    assert_eq!(again, Ok(format!("{grant:?}")), "the same token allows the same");
    let mut other = data.to_vec();
    other.push(b' ');
    let signature = token.rsplit('.').next().unwrap_or_default();
    let forged = format!("{HEADER}.{}.{signature}", URL_SAFE_NO_PAD.encode(other));
    assert!(verifier().grant(&forged, now()).is_err(), "another one's signature");
}

/// Something, nothing outside of the root, and not for ever where there is an end.
fn promised(grant: &Grant, claims: &Value) {
    let mut patterns = grant.publish.iter().chain(&grant.subscribe).peekable();
    assert!(patterns.peek().is_some(), "it allows something");
    let root = claims.get("root").and_then(Value::as_str).unwrap_or_default();
    let all = Pattern::below(&Path::new(root).expect("a root that was granted is a path"));
    for pattern in patterns {
        assert!(all.contains(pattern), "{pattern:?} is not below {root:?}");
    }
    assert!(grant.expires.is_none_or(|end| end > now()), "it has not expired");
    let has_end = claims.get("exp").is_some_and(|end| !end.is_null());
    // Beyond what a clock can say there is none.
    assert!(has_end || grant.expires.is_none());
    assert!(!grant.relay, "no token makes a relay");
}
