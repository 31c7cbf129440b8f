//! What the gateway can be told.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::wire::Version;

/// The port that is meant when nothing else is said.
pub const DEFAULT_PORT: u16 = 4443;

/// A listener: one UDP port for raw QUIC and WebTransport.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the UDP port; port 0 picks one.
    pub listen: SocketAddr,
    /// Where the certificate comes from.
    pub certificate: CertificateSource,
    /// How long peers may take to leave after GOAWAY before their sessions are closed.
    pub drain: Duration,
    /// How long QUIC and HTTP/3 together, and then SETUP, may take a peer.
    pub handshake_timeout: Duration,
    /// Sessions at once; one more is refused before any of its bytes are decrypted.
    pub sessions_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT)),
            certificate: CertificateSource::default(),
            drain: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            sessions_max: 20_000,
        }
    }
}

/// Where a listener's certificate comes from.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// A certificate that browsers accept by its hash: ECDSA P-256, at most 14 days, renewed before it ends.
    SelfSigned {
        /// DNS names and addresses that the certificate names.
        names: Vec<String>,
    },
    /// Files that somebody else renews. They are read once, when the listener is bound.
    Pem {
        /// The certificate chain, the leaf first.
        chain: PathBuf,
        /// The private key (PKCS#8, PKCS#1 or SEC1).
        key: PathBuf,
    },
}

impl Default for CertificateSource {
    fn default() -> Self {
        Self::SelfSigned { names: vec!["localhost".into(), "127.0.0.1".into(), "::1".into()] }
    }
}

/// A relay to which every local broadcast is published, and from which viewers are served what it announces.
#[derive(Clone, Debug)]
pub struct DialConfig {
    /// `https://`, `http://` (the certificate's hash is fetched first) for WebTransport, `moqt://` or `moql://` for
    /// raw QUIC. Path and query go to the peer: the path is the root there, `?jwt=` the credential.
    pub url: Url,
    /// Whom to believe.
    pub trust: Trust,
    /// Versions that are offered, the preferred one first.
    pub versions: Vec<Version>,
    /// First wait after a failure; doubled each time up to `backoff_max`, with jitter.
    pub backoff_min: Duration,
    /// Longest wait between two attempts.
    pub backoff_max: Duration,
}

impl DialConfig {
    /// The defaults for `url`: system roots, 1 s to 30 s between attempts.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            trust: Trust::System,
            versions: Version::PREFERENCE.to_vec(),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
        }
    }
}

/// Which certificate of the peer is believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// What the operating system's roots vouch for.
    System,
    /// A leaf whose DER has this SHA-256.
    Fingerprint([u8; 32]),
    /// Anything. For tests.
    Insecure,
}
