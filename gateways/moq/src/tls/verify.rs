//! Which certificate of a peer that we dial is believed.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::fingerprint;
use crate::config::Trust;

/// A TLS 1.3 client that offers `alpn` and believes what `trust` says.
pub(crate) fn client_config(trust: &Trust, alpn: Vec<Vec<u8>>) -> Result<ClientConfig, TrustError> {
    let mut config = believing(trust, &[&rustls::version::TLS13])?;
    config.alpn_protocols = alpn;
    Ok(config)
}

/// A client for other protocols than QUIC, TLS 1.2 or 1.3, that believes what `trust` says.
///
/// # Errors
/// [`TrustError`]: nobody could be believed.
pub fn tls_client(trust: &Trust) -> Result<ClientConfig, TrustError> {
    believing(trust, rustls::ALL_VERSIONS)
}

fn believing(
    trust: &Trust,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(TrustError::Tls)?;
    Ok(match trust {
        Trust::System => builder.with_root_certificates(system_roots()?).with_no_client_auth(),
        Trust::Fingerprint(digest) => pinned(builder, provider, Some(*digest)),
        Trust::Insecure => pinned(builder, provider, None),
    })
}

/// Why no peer could be believed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The system knows no authority.
    #[error("no root certificates on this system: {0}")]
    NoRoots(String),
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[source] rustls::Error),
}

fn system_roots() -> Result<RootCertStore, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map_or_else(|| "none found".into(), ToString::to_string);
        return Err(TrustError::NoRoots(reason));
    }
    Ok(roots)
}

fn pinned(
    builder: rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>,
    provider: Arc<CryptoProvider>,
    digest: Option<[u8; 32]>,
) -> ClientConfig {
    builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { provider, digest }))
        .with_no_client_auth()
}

/// Believes the leaf with one hash, or any leaf; the handshake signature is checked all the same.
#[derive(Debug)]
struct Pinned {
    provider: Arc<CryptoProvider>,
    digest: Option<[u8; 32]>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.digest {
            Some(digest) if digest != fingerprint(leaf) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            Some(_) | None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
