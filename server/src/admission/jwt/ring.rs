//! Signatures for `jsonwebtoken` by ring, which TLS and QUIC bring along anyway. It only verifies.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{Error as BadSignature, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::{hmac, signature};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(Error::from(ErrorKind::InvalidAlgorithm)),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes it the provider of this process. The first call counts, and there is no other provider.
pub(super) fn install() {
    PROVIDER.install_default().ok();
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    Ok(Box::new(Ring { algorithm: *algorithm, key: key.clone() }))
}

struct Ring {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], given: &Vec<u8>) -> Result<(), BadSignature> {
        let checked = match self.algorithm {
            Algorithm::HS256 => self.shared(hmac::HMAC_SHA256, message, given),
            Algorithm::HS384 => self.shared(hmac::HMAC_SHA384, message, given),
            Algorithm::HS512 => self.shared(hmac::HMAC_SHA512, message, given),
            Algorithm::ES256 => self.public(&signature::ECDSA_P256_SHA256_FIXED, message, given),
            Algorithm::ES384 => self.public(&signature::ECDSA_P384_SHA384_FIXED, message, given),
            Algorithm::EdDSA => self.public(&signature::ED25519, message, given),
            Algorithm::RS256 => self.rsa(&signature::RSA_PKCS1_2048_8192_SHA256, message, given),
            Algorithm::RS384 => self.rsa(&signature::RSA_PKCS1_2048_8192_SHA384, message, given),
            Algorithm::RS512 => self.rsa(&signature::RSA_PKCS1_2048_8192_SHA512, message, given),
            Algorithm::PS256 => self.rsa(&signature::RSA_PSS_2048_8192_SHA256, message, given),
            Algorithm::PS384 => self.rsa(&signature::RSA_PSS_2048_8192_SHA384, message, given),
            Algorithm::PS512 => self.rsa(&signature::RSA_PSS_2048_8192_SHA512, message, given),
            _ => None,
        };
        checked.ok_or_else(BadSignature::new)
    }
}

impl Ring {
    /// ring compares in constant time.
    fn shared(&self, algorithm: hmac::Algorithm, message: &[u8], given: &[u8]) -> Option<()> {
        let DecodingKeyKind::SecretOrDer(secret) = self.key.kind() else { return None };
        hmac::verify(&hmac::Key::new(algorithm, secret), message, given).ok()
    }

    fn public(
        &self,
        algorithm: &'static dyn signature::VerificationAlgorithm,
        message: &[u8],
        given: &[u8],
    ) -> Option<()> {
        let DecodingKeyKind::SecretOrDer(key) = self.key.kind() else { return None };
        signature::UnparsedPublicKey::new(algorithm, key).verify(message, given).ok()
    }

    fn rsa(&self, algorithm: &'static signature::RsaParameters, message: &[u8], given: &[u8]) -> Option<()> {
        let DecodingKeyKind::RsaModulusExponent { n, e } = self.key.kind() else { return None };
        signature::RsaPublicKeyComponents { n, e }.verify(algorithm, message, given).ok()
    }
}
