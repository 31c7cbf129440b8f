//! From a URL to a session with the peer behind it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::{Host, Url};

use crate::config::{DialConfig, Trust};
use crate::handshake::{self, SetupError};
use crate::tls::{TrustError, client_config, from_hex};
use crate::transport::{
    self, ALPN_WEBTRANSPORT, Established, H3Error, Purpose, Session, endpoint, transport_config,
};
use crate::wire::{ProbeSupport, Setup, Version};

/// How long everything up to the answer to CONNECT, and then SETUP, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Head start of one address over the next (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Longest answer to the request for a certificate's hash, headers included.
const HASH_ANSWER_MAX: u64 = 8192;
/// Port of a URL that names none.
const URL_PORT: u16 = 443;

/// A session as it was agreed.
pub(crate) struct Dialled {
    pub(crate) established: Established,
    pub(crate) version: Version,
    /// What the peer said of itself.
    pub(crate) setup: Setup,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the URL {0}")]
    Url(&'static str),
    #[error("cannot resolve: {0}")]
    Resolve(#[source] std::io::Error),
    #[error("cannot fetch the certificate's hash: {0}")]
    Hash(String),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("{0}")]
    Web(#[from] H3Error),
    #[error("no common version")]
    Version,
    #[error("SETUP: {0}")]
    Setup(String),
    #[error("timeout")]
    Timeout,
}

/// Dials `url`, offers every version, and exchanges SETUP.
/// `url` may differ from the configured one after a GOAWAY.
pub(crate) async fn connect(url: &Url, config: &DialConfig, hop: u64) -> Result<Dialled, DialError> {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, establish(url, config)).await;
    let (mut established, version) = connected.map_err(|_| DialError::Timeout)??;
    let mut ours = Setup::default();
    ours.set_probe(ProbeSupport::Report);
    ours.set_hop(hop);
    ours.set_downstream();
    if established.session.transport() == "quic" {
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        ours.set_path(&format!("{}{query}", url.path()));
    }
    match handshake::exchange(&mut established, version, &ours, CONNECT_TIMEOUT).await {
        Ok(setup) => Ok(Dialled { established, version, setup }),
        Err(SetupError::Violation(violation)) => {
            established.session.close(violation.code.0, &violation.reason).await;
            Err(DialError::Setup(violation.reason))
        }
        Err(SetupError::Lost) => Err(DialError::Setup(match established.ending.wait().await {
            transport::Close::Peer(code, reason) => format!("peer closed with {code:#x} {reason}"),
            transport::Close::Local => "closed".into(),
            transport::Close::Lost(reason) => reason,
        })),
    }
}

async fn establish(url: &Url, config: &DialConfig) -> Result<(Established, Version), DialError> {
    let port = url.port_or_known_default().unwrap_or(URL_PORT);
    match url.scheme() {
        "moqt" | "moql" => {
            let tokens = config.versions.iter().map(|version| version.token().into()).collect();
            let quic = dial(url, port, &config.trust, tokens).await?;
            let data = quic.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
            let token = data.and_then(|data| data.protocol).unwrap_or_default();
            let version = Version::from_token(&token).ok_or(DialError::Version)?;
            Ok((Session::raw(quic), version))
        }
        "https" => web(url.clone(), port, &config.trust, &config.versions).await,
        "http" => {
            let digest = fetch_hash(url, port).await?;
            let mut secure = url.clone();
            secure.set_scheme("https").map_err(|()| DialError::Url("cannot be dialled"))?;
            secure.set_port(Some(port)).map_err(|()| DialError::Url("has no port"))?;
            web(secure, port, &Trust::Fingerprint(digest), &config.versions).await
        }
        _ => Err(DialError::Url("must begin with https, http, moqt or moql")),
    }
}

async fn web(
    url: Url,
    port: u16,
    trust: &Trust,
    versions: &[Version],
) -> Result<(Established, Version), DialError> {
    let quic = dial(&url, port, trust, vec![ALPN_WEBTRANSPORT.into()]).await?;
    let tokens = versions.iter().map(|version| version.token().to_owned()).collect();
    let (established, token) = transport::connect(quic, url, tokens).await?;
    let version = token.and_then(|token| Version::from_token(token.as_bytes())).ok_or(DialError::Version)?;
    Ok((established, version))
}

/// Tries every address of the host, each a little after the one before; the first that answers wins.
async fn dial(
    url: &Url,
    port: u16,
    trust: &Trust,
    alpn: Vec<Vec<u8>>,
) -> Result<quinn::Connection, DialError> {
    let tls = QuicClientConfig::try_from(client_config(trust, alpn)?)
        .map_err(|error| DialError::Connect(error.to_string()))?;
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    config.transport_config(transport_config(Purpose::Relay));
    let (name, addresses) = resolve(url, port).await?;
    let mut attempts: FuturesUnordered<_> = addresses
        .into_iter()
        .zip(0u32..)
        .map(|(address, order)| {
            let (config, name) = (config.clone(), name.clone());
            async move {
                tokio::time::sleep(ATTEMPT_DELAY * order).await;
                let local = if address.is_ipv6() {
                    SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
                } else {
                    SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
                };
                let endpoint = endpoint(local, None).map_err(|error| error.to_string())?;
                let connecting =
                    endpoint.connect_with(config, address, &name).map_err(|error| error.to_string())?;
                connecting.await.map_err(|error| error.to_string())
            }
        })
        .collect();
    let mut failure = "no address".to_owned();
    while let Some(attempt) = attempts.next().await {
        match attempt {
            Ok(quic) => return Ok(quic),
            Err(reason) => failure = reason,
        }
    }
    Err(DialError::Connect(failure))
}

async fn resolve(url: &Url, port: u16) -> Result<(String, Vec<SocketAddr>), DialError> {
    // Hosts of schemes that the URL standard does not know stay text, addresses included.
    let name = match url.host().ok_or(DialError::Url("has no host"))? {
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => ip.to_string(),
        Host::Domain(name) => name.to_owned(),
    };
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok((name, vec![(ip, port).into()]));
    }
    let found = tokio::net::lookup_host((name.as_str(), port)).await.map_err(DialError::Resolve)?.collect();
    Ok((name, found))
}

/// `GET /certificate.sha256` over TCP on the port that the session will have over UDP.
async fn fetch_hash(url: &Url, port: u16) -> Result<[u8; 32], DialError> {
    let failed = |error: std::io::Error| DialError::Hash(error.to_string());
    let (name, addresses) = resolve(url, port).await?;
    let mut stream = TcpStream::connect(addresses.as_slice()).await.map_err(failed)?;
    // 1.0, so that the answer is neither kept open nor chunked.
    let request = format!("GET /certificate.sha256 HTTP/1.0\r\nHost: {name}:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = String::new();
    stream.take(HASH_ANSWER_MAX).read_to_string(&mut answer).await.map_err(failed)?;
    hash_in(&answer).ok_or_else(|| {
        let status = answer.lines().next().unwrap_or("no answer");
        DialError::Hash(format!("no SHA-256 in the answer ({status})"))
    })
}

fn hash_in(answer: &str) -> Option<[u8; 32]> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?;
    from_hex(body).filter(|_| status == "200")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_good_answer_holds_a_hash() {
        let hex = "0f".repeat(32);
        let answer = |status: &str, body: &str| format!("HTTP/1.1 {status}\r\nX: y\r\n\r\n{body}");
        assert_eq!(hash_in(&answer("200 OK", &hex)), Some([0x0f; 32]));
        assert_eq!(hash_in(&answer("200 OK", &format!("{hex}\n"))), Some([0x0f; 32]));
        assert_eq!(hash_in(&answer("404 Not Found", &hex)), None);
        assert_eq!(hash_in(&answer("200 OK", "hello")), None);
        assert_eq!(hash_in(""), None);
    }

    #[test]
    fn addresses_need_no_resolver_in_any_scheme() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("builds");
        for text in ["moqt://127.0.0.1:4443/a", "https://127.0.0.1:4443/", "moql://[::1]:4443/"] {
            let url = Url::parse(text).expect("valid");
            let (name, addresses) = runtime.block_on(resolve(&url, 4443)).expect("an address");
            assert_eq!(addresses, [SocketAddr::new(name.parse().expect("an address"), 4443)], "{text}");
        }
    }
}
