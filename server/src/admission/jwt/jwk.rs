//! Keys that verify tokens, as files hold them.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use super::claims::{Rights, Scope};

/// The least that `moq-token` takes for a shared secret (RFC 7518 section 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// A key file that cannot be used. One line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum JwkError {
    /// It cannot be read.
    #[error("auth.jwt-key: {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds no key.
    #[error("auth.jwt-key: {}: {problem}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong. Never the content.
        problem: String,
    },
}

/// One key.
#[derive(Debug)]
pub(super) struct VerifyKey {
    pub(super) kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
    pub(super) scope: Option<Rights>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

/// The members that verifying needs (RFC 7517, 7518 section 6, 8037). Private ones are not looked at.
#[derive(Deserialize)]
struct Jwk {
    kty: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    k: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    scope: Option<Scope>,
}

/// One key or a set, as JSON or as base64url of it.
pub(super) fn parse(text: &str) -> Result<Vec<VerifyKey>, String> {
    let decoded;
    let json = if text.starts_with('{') {
        text
    } else {
        let bytes = base64url(text).ok_or("neither JSON nor base64url")?;
        decoded = String::from_utf8(bytes).map_err(|_| "neither JSON nor base64url")?;
        &decoded
    };
    // What serde says of a value could show it.
    let broken =
        |error: serde_json::Error| format!("no JWK (line {}, column {})", error.line(), error.column());
    let value: serde_json::Value = serde_json::from_str(json).map_err(broken)?;
    let keys = if value.get("keys").is_some() {
        serde_json::from_value::<Set>(value).map_err(|_| "a JWK in the set cannot be read")?.keys
    } else {
        vec![serde_json::from_value::<Jwk>(value).map_err(|_| "the JWK cannot be read")?]
    };
    if keys.is_empty() {
        return Err("the set is empty".to_owned());
    }
    keys.into_iter().map(Jwk::import).collect()
}

impl Jwk {
    fn import(self) -> Result<VerifyKey, String> {
        if self.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err("key_ops does not hold `verify`".to_owned());
        }
        let scope = self.scope.as_ref().map(Scope::rights).transpose()?;
        let (algorithm, decoding) = self.material()?;
        Ok(VerifyKey { kid: self.kid, algorithm, decoding, scope })
    }

    fn material(&self) -> Result<(Algorithm, DecodingKey), String> {
        let algorithm = self.alg.as_deref().ok_or("alg is missing")?;
        let algorithm: Algorithm =
            algorithm.parse().map_err(|_| format!("alg {algorithm:?} is not supported"))?;
        let kind = self.kty.as_deref().unwrap_or("oct");
        let text =
            |member: &Option<String>, name: &str| member.clone().ok_or_else(|| format!("{name} is missing"));
        let refused = |_| "the key cannot be used".to_owned();
        let key = match (kind, self.crv.as_deref(), algorithm) {
            ("oct", _, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) => {
                let secret = base64url(&text(&self.k, "k")?).ok_or("k is not base64url")?;
                if secret.len() < SECRET_BYTES_MIN {
                    return Err(format!("k must have at least {SECRET_BYTES_MIN} bytes"));
                }
                DecodingKey::from_secret(&secret)
            }
            ("EC", Some("P-256"), Algorithm::ES256) | ("EC", Some("P-384"), Algorithm::ES384) => {
                DecodingKey::from_ec_components(&text(&self.x, "x")?, &text(&self.y, "y")?)
                    .map_err(refused)?
            }
            ("OKP", Some("Ed25519"), Algorithm::EdDSA) => {
                DecodingKey::from_ed_components(&text(&self.x, "x")?).map_err(refused)?
            }
            (
                "RSA",
                _,
                Algorithm::RS256
                | Algorithm::RS384
                | Algorithm::RS512
                | Algorithm::PS256
                | Algorithm::PS384
                | Algorithm::PS512,
            ) => DecodingKey::from_rsa_components(&text(&self.n, "n")?, &text(&self.e, "e")?)
                .map_err(refused)?,
            _ => return Err("kty, crv and alg do not go together".to_owned()),
        };
        Ok((algorithm, key))
    }
}

/// With padding or without.
fn base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}
