//! JSON Web Tokens (RFC 7519) of the kind that `moq-token` and `moq-auth` sign, so that one token admits here and to a
//! released relay.

mod claims;
mod jwk;
mod ring;

use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use claims::Claims;
use jsonwebtoken::{Validation, decode_header};
pub(crate) use jwk::JwkError;
use jwk::VerifyKey;
use moqgate_core::{Denied, DenyReason, Grant, Identity};
use sha2::{Digest as _, Sha256};

/// Longest token that is looked at: more than any of ours, and less than what would be worth hashing for an attacker.
const TOKEN_BYTES_MAX: usize = 4096;

/// The keys that verify tokens.
#[derive(Debug)]
pub(crate) struct Jwt {
    keys: Vec<VerifyKey>,
}

impl Jwt {
    /// Reads key files: a JWK (RFC 7517) or a set of them as JSON, or a JWK as `moq auth generate` writes it.
    pub(crate) fn load(files: &[PathBuf]) -> Result<Self, JwkError> {
        ring::install();
        let mut keys = Vec::new();
        for file in files {
            keys.extend(read(file)?);
        }
        Ok(Self { keys })
    }

    /// What the token allows. Whether that covers the request is looked at by the caller.
    pub(crate) fn grant(&self, token: &str, now: SystemTime) -> Result<Grant, Denied> {
        let deny = |detail: String| Err(Denied { reason: DenyReason::Unauthorized, detail });
        let claims = match self.verify(token) {
            Ok(claims) => claims,
            Err(problem) => return deny(format!("the token is not valid: {problem}")),
        };
        let at = |seconds: u64| UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        let expires = claims.0.exp.and_then(at);
        if expires.is_some_and(|end| end <= now) {
            return deny("the token has expired".to_owned());
        }
        if claims.0.nbf.and_then(at).is_some_and(|start| start > now) {
            return deny("the token is not valid yet".to_owned());
        }
        let (claims, rights) = claims;
        let holder = format!("{:?} {:?} {:?}", claims.sub, rights.publish, rights.subscribe);
        let digest = Sha256::digest(holder.as_bytes());
        let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Grant {
            publish: rights.publish,
            subscribe: rights.subscribe,
            tenant: claims.sub.unwrap_or_default().into(),
            expires,
            // A renewed token is the same holder's.
            ..Grant::new(Identity::Credential(format!("jwt:{short}").into()))
        })
    }

    fn verify(&self, token: &str) -> Result<(Claims, claims::Rights), String> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err("it is too long".to_owned());
        }
        let header = decode_header(token).map_err(|_| "it cannot be read".to_owned())?;
        let of_that_name = |key: &&VerifyKey| header.kid.is_some() && key.kid == header.kid;
        let named = self.keys.iter().any(|key| of_that_name(&key));
        let usable = |key: &&VerifyKey| key.algorithm == header.alg && (!named || of_that_name(key));
        let mut problem = "no key for it".to_owned();
        for key in self.keys.iter().filter(usable) {
            match verify_with(key, token) {
                Ok(found) => return Ok(found),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }
}

/// Whether a credential has the form of a token.
pub(crate) fn looks_like_token(text: &str) -> bool {
    text.split('.').count() == 3 && text.starts_with("ey")
}

fn verify_with(key: &VerifyKey, token: &str) -> Result<(Claims, claims::Rights), String> {
    let mut validation = Validation::new(key.algorithm);
    // Times are compared with the clock of the request, by the caller.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation);
    let claims = claims.map_err(|error| error.to_string())?.claims;
    let rights = claims.rights()?;
    if key.scope.as_ref().is_some_and(|scope| !scope.cover(&rights)) {
        return Err("it allows more than its key may".to_owned());
    }
    Ok((claims, rights))
}

fn read(file: &FilePath) -> Result<Vec<VerifyKey>, JwkError> {
    let text =
        std::fs::read_to_string(file).map_err(|source| JwkError::Read { file: file.to_owned(), source })?;
    jwk::parse(text.trim()).map_err(|problem| JwkError::Content { file: file.to_owned(), problem })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
