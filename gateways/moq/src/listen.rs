//! The listener: one UDP port for raw QUIC and WebTransport.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use moqgate_core::{Credential, DenyReason, Direction, Gate, Grant, Protocol, Request};
use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::handshake::{self, SetupError, Target};
use crate::link::{Link, QuicStats, Violation};
use crate::metrics::Metrics;
use crate::session::{self, Farewell};
use crate::tls::{CertificateError, CertificateHash, Certificates, RENEWAL_CHECK};
use crate::transport::{
    ALPN_WEBTRANSPORT, Established, Purpose, Session, WebRequest, endpoint, transport_config,
};
use crate::wire::{ProbeSupport, Role, SessionCode, Setup, Version};

/// QUIC and HTTP/3 handshakes under way at once. Until they are through, peers cost us and prove nothing.
const HANDSHAKES_MAX: usize = 512;
/// With more handshakes than this under way, a peer has to prove its address first (RFC 9000, section 8.1.2).
const RETRY_ABOVE: usize = 64;
/// First packets that QUIC keeps for connections that nobody has taken yet.
const INCOMING_MAX: usize = 1024;
/// How long the last packets may take after every session is over.
const FLUSH: Duration = Duration::from_secs(1);

/// A bound port. [`Listener::run`] serves it.
#[derive(Debug)]
pub struct Listener {
    endpoint: quinn::Endpoint,
    address: SocketAddr,
    certificates: Arc<Certificates>,
    host: Host,
}

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The certificate or its key.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// TLS does not take what it was given.
    #[error("TLS: {0}")]
    Tls(String),
    /// The port.
    #[error("cannot listen on udp {address}: {source}")]
    Address {
        /// What was to be bound.
        address: SocketAddr,
        /// Why it cannot.
        #[source]
        source: io::Error,
    },
}

impl Listener {
    /// Binds the port of `config`. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] when the certificate cannot be loaded or the port cannot be had.
    pub fn bind(config: Config, gate: Gate) -> Result<Self, BindError> {
        let certificates = Certificates::load(&config.certificate, SystemTime::now())?;
        let server =
            server_config(certificates.clone()).map_err(|error| BindError::Tls(error.to_string()))?;
        let address = config.listen;
        let failed = |source| BindError::Address { address, source };
        let endpoint = endpoint(address, Some(server)).map_err(failed)?;
        let address = endpoint.local_addr().map_err(failed)?;
        let host = Host {
            gate,
            metrics: Metrics::default(),
            sessions: Arc::new(Semaphore::new(config.sessions_max)),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            farewell: Farewell {
                stop: CancellationToken::new(),
                goaway: true,
                grace: config.drain,
                code: SessionCode::GOAWAY_TIMEOUT,
            },
            patience: config.handshake_timeout,
        };
        Ok(Self { endpoint, address, certificates, host })
    }

    /// The address that was bound, with the port that was picked.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The hash of the certificate, for the HTTP route beside the port.
    #[must_use]
    pub fn certificate_hash(&self) -> CertificateHash {
        self.certificates.hash()
    }

    /// The counters of this listener.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.host.metrics.clone()
    }

    /// Serves until `shutdown`: then nobody new comes in, everybody is sent GOAWAY, and who is still there after
    /// [`Config::drain`] is closed. Returns when the last session is over. Dropping the future closes all at once.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { endpoint, certificates, host, .. } = self;
        let endpoint = CloseOnDrop(endpoint);
        let tracker = TaskTracker::new();
        let mut renewals = tokio::time::interval(RENEWAL_CHECK);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                incoming = endpoint.0.accept() => match incoming {
                    Some(incoming) => host.receive(incoming, &tracker),
                    None => break,
                },
                _ = renewals.tick() => renew(&certificates),
            }
        }
        endpoint.0.set_server_config(None);
        host.farewell.stop.cancel();
        tracker.close();
        tracker.wait().await;
        endpoint.0.close(SessionCode::NO_ERROR.0.into(), b"going away");
        let _flushed = tokio::time::timeout(FLUSH, endpoint.0.wait_idle()).await;
    }
}

struct CloseOnDrop(quinn::Endpoint);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close(SessionCode::NO_ERROR.0.into(), b"going away");
    }
}

fn server_config(certificates: Arc<Certificates>) -> Result<quinn::ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    // The order is ours: the newest version that the peer has.
    tls.alpn_protocols = Version::PREFERENCE.iter().map(|version| version.token().into()).collect();
    tls.alpn_protocols.push(ALPN_WEBTRANSPORT.into());
    let quic = QuicServerConfig::try_from(tls).map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(quic));
    config.transport_config(transport_config(Purpose::Accepted)).max_incoming(INCOMING_MAX);
    Ok(config)
}

fn renew(certificates: &Certificates) {
    match certificates.renew_if_due(SystemTime::now()) {
        Ok(true) => tracing::info!("certificate renewed"),
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, "certificate not renewed"),
    }
}

/// What every connection needs.
#[derive(Clone, Debug)]
struct Host {
    gate: Gate,
    metrics: Metrics,
    sessions: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    farewell: Farewell,
    /// [`Config::handshake_timeout`].
    patience: Duration,
}

impl Host {
    /// Takes a connection on, asks it to prove its address, or turns it away, before anything is spent on it.
    fn receive(&self, incoming: quinn::Incoming, tracker: &TaskTracker) {
        let crowded = self.handshakes.available_permits() < HANDSHAKES_MAX - RETRY_ABOVE;
        if crowded && !incoming.remote_address_validated() && incoming.may_retry() {
            let _retry = incoming.retry();
            return;
        }
        let permits = self
            .sessions
            .clone()
            .try_acquire_owned()
            .and_then(|session| Ok((session, self.handshakes.clone().try_acquire_owned()?)));
        match permits {
            Ok(permits) => drop(tracker.spawn(self.clone().serve(incoming, permits, tracker.clone()))),
            Err(_) => {
                self.metrics.counters().connections_refused.bump();
                incoming.refuse();
            }
        }
    }

    async fn serve(
        self,
        incoming: quinn::Incoming,
        (_session, handshake): (OwnedSemaphorePermit, OwnedSemaphorePermit),
        tasks: TaskTracker,
    ) {
        let counters = self.metrics.counters();
        counters.handshakes_started.bump();
        let connected = tokio::time::timeout(self.patience, connect(incoming)).await;
        let agreed = match connected {
            Ok(Ok(connected)) => self.agree(connected).await,
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err("handshake timeout".into()),
        };
        drop(handshake);
        match agreed {
            Ok(agreed) => self.run(agreed, tasks).await,
            Err(reason) => {
                counters.handshakes_failed.bump();
                tracing::debug!(%reason, "no session");
            }
        }
    }

    /// A session from here on: one line when it opens, one when it closes.
    async fn run(&self, agreed: Agreed, tasks: TaskTracker) {
        let Agreed { established, version, setup, request, grant } = agreed;
        let transport = established.session.clone();
        let stats = Arc::new(QuicStats(transport.clone()));
        let core = self.gate.open(request, grant, SystemTime::now(), Some(stats));
        let counters = self.metrics.counters();
        let link = Link::new(transport.clone(), version, self.gate.origin().hop_id(), setup, &core, counters);
        let (id, root) = (core.id().clone(), link.root.clone());
        tracing::info!(session = %id, %version, transport = transport.transport(), %root, "session opened");
        tracing::debug!(session = %id, peer = %transport.peer(), "peer");
        counters.sessions_opened.bump();
        let end =
            session::run(established, Arc::new(link), core, Purpose::Accepted, self.farewell.clone(), tasks)
                .await;
        counters.sessions_closed.bump();
        if matches!(end, session::End::Violated(_)) {
            counters.violations.bump();
        }
        tracing::info!(session = %id, reason = %end, "session closed");
    }

    /// SETUP and admission. The peer has been told when this fails.
    async fn agree(&self, connected: Connected) -> Result<Agreed, String> {
        let Connected { mut established, version, target } = connected;
        let transport = established.session.clone();
        let Some(version) = version else {
            transport.close(SessionCode::VERSION_NEGOTIATION_FAILED.0, "no common version").await;
            return Err("no common version".into());
        };
        let mut ours = Setup::default();
        ours.set_probe(ProbeSupport::Report);
        ours.set_hop(self.gate.origin().hop_id());
        ours.set_downstream();
        let target = match handshake::exchange(&mut established, version, &ours, self.patience).await {
            Ok(setup) => target
                .map_or_else(|| Target::from_setup(&setup), Ok)
                .map(|target| (target, setup))
                .map_err(|error| Violation::protocol(format!("path: {error}"))),
            Err(SetupError::Violation(violation)) => Err(violation),
            Err(SetupError::Lost) => return Err("connection lost before SETUP".into()),
        };
        let (target, setup) = match target {
            Ok(found) => found,
            Err(Violation { code, reason }) => {
                transport.close(code.0, &reason).await;
                return Err(reason);
            }
        };
        let request = Request {
            protocol: Protocol::Moq,
            // A role narrows what happens on a session, not what it may do.
            direction: Direction::Both,
            path: target.root,
            credential: target.token.map_or(Credential::None, Credential::Token),
            peer: transport.peer(),
        };
        let grant = match self.gate.admit(&request).await {
            Ok(grant) => grant,
            Err(denied) => {
                self.metrics.counters().sessions_denied.bump();
                tracing::info!(path = %request.path, reason = %denied.reason, detail = denied.detail, "session denied");
                transport.close(denial(denied.reason).0, &denied.detail).await;
                return Err(denied.to_string());
            }
        };
        if setup.role() == Role::Publisher && grant.publish.is_empty() {
            transport.close(SessionCode::UNAUTHORIZED.0, "the credential may not publish").await;
            return Err("a publisher whose credential may not publish".into());
        }
        if setup.role() == Role::Subscriber && grant.subscribe.is_empty() {
            transport.close(SessionCode::UNAUTHORIZED.0, "the credential may not watch").await;
            return Err("a viewer whose credential may not watch".into());
        }
        Ok(Agreed { established, version, setup, request, grant })
    }
}

/// A peer that speaks, before it has said what it wants.
struct Connected {
    established: Established,
    /// None if we have no version in common.
    version: Option<Version>,
    /// Where the transport says; raw QUIC says it in SETUP.
    target: Option<Target>,
}

/// A peer that may come in.
struct Agreed {
    established: Established,
    version: Version,
    setup: Setup,
    request: Request,
    grant: Grant,
}

async fn connect(incoming: quinn::Incoming) -> Result<Connected, String> {
    let connecting = incoming.accept().map_err(|error| error.to_string())?;
    let quic = connecting.await.map_err(|error| error.to_string())?;
    let alpn = alpn(&quic).unwrap_or_default();
    if alpn != ALPN_WEBTRANSPORT {
        let version = Version::from_token(&alpn);
        return Ok(Connected { established: Session::raw(quic), version, target: None });
    }
    let request = WebRequest::accept(quic).await.map_err(|error| error.to_string())?;
    let target = Target::from_url(request.url()).map_err(|error| format!("path: {error}"))?;
    let version = Version::choose(request.protocols().iter().map(String::as_str));
    let established =
        request.accept_with(version.map(Version::token)).await.map_err(|error| error.to_string())?;
    Ok(Connected { established, version, target: Some(target) })
}

fn alpn(quic: &quinn::Connection) -> Option<Vec<u8>> {
    quic.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}

/// The session code that stands for a refusal.
fn denial(reason: DenyReason) -> SessionCode {
    match reason {
        DenyReason::BadRequest => SessionCode::PROTOCOL_VIOLATION,
        DenyReason::Unauthorized | DenyReason::Forbidden | DenyReason::NotFound | DenyReason::Conflict => {
            SessionCode::UNAUTHORIZED
        }
        DenyReason::Overloaded | DenyReason::Unavailable => SessionCode::INTERNAL,
    }
}
