//! From configuration to bound ports. What cannot be bound is one line that names protocol, transport and address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use moqgate_core::{Gate, Origin, Secret};
use moqgate_moq::{CertificateSource, DialConfig, Dialer, Trust};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;

use crate::admission::jwt::Jwt;
use crate::admission::keys::Keys;
use crate::admission::webhook::Webhook;
use crate::admission::{Kicks, Policy, Supervisor};
use crate::config::{self, Auth, AuthMode, Relay, Rtmp, Srt, Tls, Webrtc};
use crate::error::StartError;
use crate::http::{Access, Admin};
use crate::store::Store;

/// How many pairs of equal UDP and TCP ports are tried when the system picks: one side of a pair is rarely taken.
const PAIRS_MAX: usize = 16;

/// The MoQ port: QUIC on UDP, and TCP of the same number.
pub(crate) struct Moq {
    /// UDP.
    pub(crate) listener: moqgate_moq::Listener,
    /// TCP.
    pub(crate) tcp: TcpListener,
}

/// Binds the MoQ port, on UDP and on TCP.
pub(crate) async fn moq(
    listen: Option<SocketAddr>,
    tls: Option<Tls>,
    drain: Duration,
    gate: &Gate,
) -> Result<Option<Moq>, StartError> {
    let Some(listen) = listen else { return Ok(None) };
    let pem = |Tls { cert, key }| CertificateSource::Pem { chain: cert, key };
    let certificate = tls.map_or_else(CertificateSource::default, pem);
    let config = moqgate_moq::Config { listen, certificate, drain, ..moqgate_moq::Config::default() };
    let mut pairs = 1;
    loop {
        let listener = moqgate_moq::Listener::bind(config.clone(), gate.clone()).map_err(not_moq)?;
        match tcp("MoQ (TCP)", listener.local_addr()).await {
            Ok(tcp) => return Ok(Some(Moq { listener, tcp })),
            Err(StartError::Bind { source, .. })
                if source.kind() == io::ErrorKind::AddrInUse && listen.port() == 0 && pairs < PAIRS_MAX =>
            {
                pairs += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

fn not_moq(error: moqgate_moq::BindError) -> StartError {
    if let moqgate_moq::BindError::Address { address, source } = error {
        return StartError::Bind { what: "MoQ (UDP)", address, source };
    }
    StartError::Tls { reason: error.to_string() }
}

/// Binds the SRT port.
pub(crate) fn srt(config: Srt, gate: &Gate) -> Result<moqgate_srt::Listener, StartError> {
    let config = moqgate_srt::Config {
        listen: config.listen,
        latency: config.latency,
        play_wait: config.play_wait,
        passphrase: config.passphrase,
        default_path: config.default_path,
        ..moqgate_srt::Config::default()
    };
    moqgate_srt::Listener::bind(config, gate.clone()).map_err(|error| match error {
        moqgate_srt::BindError::Socket { address, source } => {
            StartError::Bind { what: "SRT (UDP)", address, source }
        }
        moqgate_srt::BindError::Passphrase => StartError::Passphrase,
    })
}

/// Binds the RTMP port. With a certificate it speaks RTMPS as well.
pub(crate) fn rtmp(
    config: &Rtmp,
    tls: Option<&Tls>,
    gate: &Gate,
) -> Result<moqgate_rtmp::Listener, StartError> {
    let tls = tls.map(server_tls).transpose()?;
    let Rtmp { listen, play_wait } = *config;
    let config = moqgate_rtmp::Config { listen, tls, play_wait, ..moqgate_rtmp::Config::default() };
    moqgate_rtmp::Listener::bind(config, gate.clone()).map_err(|error| match error {
        moqgate_rtmp::BindError::Socket { address, source } => {
            StartError::Bind { what: "RTMP (TCP)", address, source }
        }
    })
}

/// Binds the WebRTC port, and looks names of outside addresses up.
pub(crate) async fn webrtc(config: Webrtc, gate: &Gate) -> Result<moqgate_webrtc::Listener, StartError> {
    let (mut hosts, mut host_names) = (Vec::new(), Vec::new());
    for host in config.hosts {
        if let Ok(address) = host.parse() {
            hosts.push(address);
            continue;
        }
        let found =
            tokio::net::lookup_host((host.as_str(), 0)).await.map(|found| found.map(|at| at.ip()).collect());
        let found = found.map_err(|source| StartError::Host { host: host.clone(), source })?;
        host_names.push((host, found));
    }
    let ice_servers = config.ice_servers.into_iter().map(|server| {
        let (username, credential) = server.login.unzip();
        moqgate_webrtc::IceServer { url: server.url, username, credential }
    });
    let config = moqgate_webrtc::Config {
        listen: config.listen,
        hosts,
        host_names,
        ice_servers: ice_servers.collect(),
        offer_wait: config.offer_wait,
        play_wait: config.play_wait,
        ..moqgate_webrtc::Config::default()
    };
    moqgate_webrtc::Listener::bind(config, gate.clone()).map_err(|error| match error {
        moqgate_webrtc::BindError::Socket { address, source } => {
            StartError::Bind { what: "WebRTC (UDP and TCP)", address, source }
        }
        error @ (moqgate_webrtc::BindError::Certificate(_) | _) => {
            StartError::Tls { reason: error.to_string() }
        }
    })
}

/// What TLS over TCP needs of the configured certificate.
fn server_tls(tls: &Tls) -> Result<Arc<ServerConfig>, StartError> {
    let wrong = |error: String| StartError::Tls { reason: error };
    let chain = CertificateDer::pem_file_iter(&tls.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(format!("{}: {error}", tls.cert.display())))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| wrong(format!("{}: {error}", tls.key.display())))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| wrong(error.to_string()))?;
    Ok(Arc::new(config))
}

/// Who may change what, and who watches over the sessions.
pub(crate) fn access(
    auth: &Auth,
    admin_token: Option<&Secret>,
    store: Option<&Store>,
    origin: &Origin,
) -> Result<Access, StartError> {
    let keys = store.map(Keys::open).transpose()?;
    Ok(Access {
        supervisor: Supervisor::new(origin.clone(), keys.clone()),
        keys,
        kicks: Kicks::default(),
        kick_time: auth.kick_time,
        admin: Admin::new(admin_token),
    })
}

/// Who lets peers in.
pub(crate) fn policy(auth: Auth, node: &str, access: &Access, is_demo: bool) -> Result<Policy, StartError> {
    let jwt = (auth.has(AuthMode::Jwt) && !auth.jwt_keys.is_empty()).then(|| Jwt::load(&auth.jwt_keys));
    let asked = auth.webhook.clone().filter(|_| auth.has(AuthMode::Webhook));
    let webhook = asked.map(|config| Webhook::new(config, node)).transpose();
    let policy = Policy {
        open: auth.mode.as_ref().map(|modes| modes.contains(&AuthMode::Open)),
        keys: access.keys.clone().filter(|_| auth.has(AuthMode::Keys)),
        jwt: jwt.transpose()?,
        webhook: webhook.map_err(|error| StartError::Client(error.without_url().to_string()))?,
        anonymous_play: auth.anonymous_play,
        kicks: access.kicks.clone(),
        ..Policy::default()
    };
    match is_demo && !policy.is_open() {
        true => Err(StartError::Demo("it has no credential, and admission is not open")),
        false => Ok(policy),
    }
}

/// Binds the HTTP port.
pub(crate) async fn http(config: Option<config::Http>) -> Result<Option<TcpListener>, StartError> {
    match config {
        Some(config) => tcp("HTTP (TCP)", config.listen).await.map(Some),
        None => Ok(None),
    }
}

/// Prepares the session to a relay; nothing is dialled yet.
pub(crate) fn relay(relay: Relay, gate: &Gate) -> Dialer {
    let trust = trust(relay.trust);
    Dialer::new(DialConfig { trust, ..DialConfig::new(relay.url) }, gate.clone())
}

/// The same in the words of the gateway.
pub(crate) fn trust(trust: config::Trust) -> Trust {
    match trust {
        config::Trust::System => Trust::System,
        config::Trust::Fingerprint(digest) => Trust::Fingerprint(digest),
        config::Trust::Anything => Trust::Insecure,
    }
}

async fn tcp(what: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Bind { what, address, source })
}
