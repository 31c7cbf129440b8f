//! The certificate that a listener serves, and its hash.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{fingerprint, to_hex};
use crate::config::CertificateSource;

/// Browsers refuse a certificate pinned by hash whose validity is longer than 14 days in all.
const VALIDITY: Duration = Duration::from_secs(14 * DAY);
/// Starts in the past, so that a peer whose clock is behind can connect.
const BACKDATE: Duration = Duration::from_secs(DAY);
/// Renewed this long before it ends: a peer whose clock is ahead, or that fetched the hash and waited, still connects.
const RENEW_BEFORE: Duration = Duration::from_secs(2 * DAY);
/// How often to ask whether renewal is due. A timer for the exact moment would miss it on a machine that slept.
pub(crate) const RENEWAL_CHECK: Duration = Duration::from_secs(3600);
const DAY: u64 = 86_400;

/// The SHA-256 of the certificate that is served now, for the `/certificate.sha256` route. It follows renewals.
#[derive(Clone, Debug)]
pub struct CertificateHash(Arc<Certificates>);

impl CertificateHash {
    /// The hash as 64 lower-case hex digits without a newline: the whole body of the answer, byte for byte.
    #[must_use]
    pub fn current(&self) -> String {
        to_hex(&self.0.read().fingerprint)
    }
}

/// The certificate in use; replaced in place when it is renewed.
pub(crate) struct Certificates {
    names: Option<Vec<String>>,
    current: RwLock<Served>,
}

#[derive(Clone)]
struct Served {
    key: Arc<CertifiedKey>,
    fingerprint: [u8; 32],
    /// When to make the next one; never for certificates that came from files.
    renew_at: Option<SystemTime>,
}

impl Certificates {
    pub(crate) fn load(source: &CertificateSource, now: SystemTime) -> Result<Arc<Self>, CertificateError> {
        let (names, served) = match source {
            CertificateSource::SelfSigned { names } => (Some(names.clone()), self_signed(names, now)?),
            CertificateSource::Pem { chain, key } => (None, from_files(chain, key)?),
        };
        Ok(Arc::new(Self { names, current: RwLock::new(served) }))
    }

    /// Replaces a certificate whose time has come. `Ok(true)` if it did.
    pub(crate) fn renew_if_due(&self, now: SystemTime) -> Result<bool, CertificateError> {
        let due = self.read().renew_at.is_some_and(|at| now >= at);
        let Some(names) = self.names.as_ref().filter(|_| due) else { return Ok(false) };
        let served = self_signed(names, now)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = served;
        Ok(true)
    }

    pub(crate) fn hash(self: &Arc<Self>) -> CertificateHash {
        CertificateHash(self.clone())
    }

    fn read(&self) -> Served {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("sha256", &to_hex(&self.read().fingerprint))
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.read().key)
    }
}

/// Why there is no certificate to serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The file cannot be read, or holds no certificate or key.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file in question.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is of an unknown kind or does not belong to the certificate.
    #[error("certificate and key: {0}")]
    Mismatch(#[source] rustls::Error),
    /// A certificate could not be made.
    #[error("self-signed certificate: {0}")]
    Generate(#[source] rcgen::Error),
}

fn self_signed(names: &[String], now: SystemTime) -> Result<Served, CertificateError> {
    let mut params = CertificateParams::new(names).map_err(CertificateError::Generate)?;
    let not_before = now - BACKDATE;
    params.not_before = not_before.into();
    params.not_after = (not_before + VALIDITY).into();
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CertificateError::Generate)?;
    let leaf = params.self_signed(&pair).map_err(CertificateError::Generate)?.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    serve(vec![leaf], key, Some(not_before + VALIDITY - RENEW_BEFORE))
}

fn from_files(chain: &PathBuf, key: &PathBuf) -> Result<Served, CertificateError> {
    let bad = |path: &PathBuf, error: pem::Error| CertificateError::File {
        path: path.clone(),
        reason: if let pem::Error::Io(error) = &error { describe(error) } else { error.to_string() },
    };
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(chain, error))?;
    if certificates.is_empty() {
        return Err(bad(chain, pem::Error::NoItemsFound));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, error))?;
    serve(certificates, private, None)
}

fn describe(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound { "no such file".into() } else { error.to_string() }
}

fn serve(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    renew_at: Option<SystemTime>,
) -> Result<Served, CertificateError> {
    let fingerprint = chain.first().map(|leaf| fingerprint(leaf)).unwrap_or_default();
    let provider = rustls::crypto::ring::default_provider();
    let key = CertifiedKey::from_der(chain, key, &provider).map_err(CertificateError::Mismatch)?;
    Ok(Served { key: Arc::new(key), fingerprint, renew_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs((20_000 + days) * DAY)
    }

    #[test]
    fn renewal_changes_the_hash_and_not_before_its_time() {
        let certificates = Certificates::load(&CertificateSource::default(), at(0)).expect("generates");
        let handle = certificates.hash();
        let first = handle.current();
        assert_eq!(first.len(), 64);
        assert!(!certificates.renew_if_due(at(10)).expect("not due"));
        assert_eq!(handle.current(), first);
        // Valid until day 13; renewed two days earlier.
        assert!(certificates.renew_if_due(at(11)).expect("due"));
        assert_ne!(handle.current(), first);
        assert!(!certificates.renew_if_due(at(11)).expect("fresh again"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let source =
            CertificateSource::Pem { chain: "/nonexistent/c.pem".into(), key: "/nonexistent/k.pem".into() };
        let error = Certificates::load(&source, at(0)).expect_err("no file");
        assert_eq!(error.to_string(), "/nonexistent/c.pem: no such file");
    }
}
