//! The caller: pushes a local broadcast to a remote server, or pulls a remote one, and calls again when it ends.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use moqgate_core::{
    Backoff, CallCounters, Credential, Denied, Direction, Gate, Grant, Identity, KillReason, Path, Pattern,
    Protocol, PublishError, PublishOptions, Request, Session,
};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::egress::Player;
use crate::ingest::Ingest;
use crate::line::{Line, Media};
use crate::remote::Remote;
use crate::session::Limits;
use crate::session::client::{Client, ClientError, LoginError};
use crate::stats::Link;

/// How long the name, the TCP connection and TLS may take together.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Which way media goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From a local broadcast to the remote server.
    Push,
    /// From the remote server to a local broadcast.
    Pull,
}

/// Settings of one caller.
#[derive(Clone)]
pub struct CallerConfig {
    /// Whom to call.
    pub remote: Remote,
    /// The local broadcast.
    pub path: Path,
    /// What to do.
    pub way: Way,
    /// Which certificates are believed; without it `rtmps://` cannot be called.
    pub tls: Option<Arc<ClientConfig>>,
    /// How long the server may take.
    pub limits: Limits,
    /// Wait after the first failure; it doubles from failure to failure.
    pub backoff_min: Duration,
    /// Longest wait between two attempts.
    pub backoff_max: Duration,
}

impl CallerConfig {
    /// Calls again after 1 s at first, 30 s at last.
    pub fn new(way: Way, remote: Remote, path: Path) -> Self {
        let (backoff_min, backoff_max) = (Duration::from_secs(1), Duration::from_secs(30));
        Self { remote, path, way, tls: None, limits: Limits::default(), backoff_min, backoff_max }
    }
}

impl fmt::Debug for CallerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerConfig")
            .field("remote", &self.remote)
            .field("path", &self.path)
            .field("way", &self.way)
            .finish_non_exhaustive()
    }
}

/// Keeps one connection to a remote server.
#[derive(Debug)]
pub struct Caller {
    config: CallerConfig,
    gate: Gate,
    counters: CallCounters,
}

/// How a connection that was agreed on ended.
#[derive(Debug)]
pub(crate) enum Hangup {
    /// What was pushed or pulled is over.
    Over,
    /// The server closed the connection.
    Closed,
    /// The process stops.
    Stopping,
}

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("cannot look up the address: {0}")]
    Lookup(io::Error),
    #[error("the name has no address")]
    NoAddress,
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no connection in time")]
    Timeout,
    #[error("rtmps without TLS settings")]
    NoTls,
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("{0}")]
    Login(LoginError),
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("{0}")]
    Publish(#[from] PublishError),
    #[error("{}", .0.detail)]
    Denied(Denied),
    #[error("closed by the server before it agreed")]
    Closed,
    #[error("the broadcast was taken over")]
    Replaced,
    #[error("{0}")]
    Killed(KillReason),
    #[error("the process is stopping")]
    Stopping,
}

/// What a name was resolved to.
type Addresses = Vec<SocketAddr>;

/// Any stream that a connection can be made of.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Caller {
    /// A caller that has not called yet.
    pub fn new(config: CallerConfig, gate: Gate) -> Self {
        Self { config, gate, counters: CallCounters::default() }
    }

    /// Its counters; they outlive it.
    pub fn counters(&self) -> CallCounters {
        self.counters.clone()
    }

    /// Calls until `shutdown`, then sends what there is, and says goodbye.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(self.config.backoff_min, self.config.backoff_max, rand::random());
        let mut failing = false;
        while !shutdown.is_cancelled() {
            let mut since = None;
            let outcome = self.attempt(&mut since, &shutdown).await;
            if shutdown.is_cancelled() {
                break;
            }
            let lasted = since.map(|since: Instant| since.elapsed()).unwrap_or_default();
            let wait = backoff.after(lasted);
            self.report(&outcome, wait, &mut failing);
            shutdown.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
    }

    fn report(&self, outcome: &Result<Hangup, CallError>, wait: Duration, failing: &mut bool) {
        let (remote, path, retry_s) = (&self.config.remote, &self.config.path, wait.as_secs_f32());
        match outcome {
            Ok(why) => {
                *failing = false;
                info!(%remote, %path, ?why, retry_s, "RTMP call ended");
            }
            Err(error) => {
                self.counters.fail();
                if std::mem::replace(failing, true) {
                    debug!(%remote, %path, %error, retry_s, "RTMP call failed");
                } else {
                    warn!(%remote, %path, %error, retry_s, "RTMP call failed");
                }
            }
        }
    }

    /// One connection from its beginning to its end. `since` is when it was agreed on, if it was.
    async fn attempt(
        &self,
        since: &mut Option<Instant>,
        shutdown: &CancellationToken,
    ) -> Result<Hangup, CallError> {
        let link = Arc::<Link>::default();
        let begin = shutdown.run_until_cancelled(self.begin(&link));
        let (session, addresses) = begin.await.ok_or(CallError::Stopping)??;
        self.counters.attempt();
        let set_up = async {
            tokio::select! {
                biased;
                reason = session.killed() => Err(CallError::Killed(reason)),
                set_up = self.set_up(&session, &addresses, &link) => set_up,
            }
        };
        let set_up = shutdown.run_until_cancelled(set_up);
        let (mut line, mut media) = set_up.await.ok_or(CallError::Stopping)??;
        let _live = self.counters.open();
        *since = Some(Instant::now());
        let (remote, path) = (&self.config.remote, &self.config.path);
        info!(%remote, %path, way = ?self.config.way, "RTMP call taken");
        let end = line.talk(&mut media, &session, shutdown).await;
        media.finish(Instant::now());
        if end.is_ok() {
            line.leave().await;
        }
        end
    }

    /// Up to the moment to call: a push waits until there is something to push.
    async fn begin(&self, link: &Arc<Link>) -> Result<(Session, Addresses), CallError> {
        let remote = &self.config.remote;
        let lookup = tokio::net::lookup_host((remote.host.as_str(), remote.port));
        let lookup = tokio::time::timeout(CONNECT_LIMIT, lookup).await.map_err(|_| CallError::Timeout)?;
        let addresses: Addresses = lookup.map_err(CallError::Lookup)?.collect();
        let session = self.session(*addresses.first().ok_or(CallError::NoAddress)?, link);
        if self.config.way == Way::Push {
            let consumer = session.consumer();
            tokio::select! {
                biased;
                // The grant is ours and covers the path.
                found = consumer.wait(&self.config.path) => drop(found),
                reason = session.killed() => return Err(CallError::Killed(reason)),
            }
        }
        Ok((session, addresses))
    }

    /// Up to the first media.
    async fn set_up(
        &self,
        session: &Session,
        addresses: &[SocketAddr],
        link: &Arc<Link>,
    ) -> Result<(Line<Box<dyn Stream>>, Media), CallError> {
        let mut login = self.config.remote.login.clone();
        let (mut line, capabilities) = loop {
            let connect = self.connect(addresses);
            let stream =
                tokio::time::timeout(CONNECT_LIMIT, connect).await.map_err(|_| CallError::Timeout)??;
            let shown = login.as_ref().map(|login| login.query()).unwrap_or_default();
            let direction = match self.config.way {
                Way::Push => Direction::Publish,
                Way::Pull => Direction::Subscribe,
            };
            let wish = self.config.remote.wish(direction, &shown);
            let client = Client::new(wish, self.config.limits, rand::random(), Instant::now());
            let mut line = Line::new(stream, client, Arc::clone(link));
            match (line.agree().await, &mut login) {
                (Ok(capabilities), _) => break (line, capabilities),
                (Err(CallError::Client(ClientError::Refused { code, description })), Some(login)) => {
                    match login.refused(&description, rand::random()) {
                        Ok(()) => {}
                        Err(LoginError::NotAsked) => {
                            return Err(ClientError::Refused { code, description }.into());
                        }
                        Err(error) => return Err(CallError::Login(error)),
                    }
                }
                (Err(error), _) => return Err(error),
            }
        };
        let path = &self.config.path;
        let media = match self.config.way {
            Way::Pull => {
                let publisher = session.publisher();
                let broadcast = publisher.publish(path, PublishOptions::default(), Instant::now())?;
                Media::In(Box::new(Ingest::new(broadcast, Arc::clone(link))))
            }
            Way::Push => {
                // It is there, or was a moment ago.
                let open = Player::open(session, path.clone(), &capabilities, Backoff::SETTLED);
                Media::Out(Box::new(line.while_open(open).await?.map_err(CallError::Denied)?))
            }
        };
        Ok((line, media))
    }

    async fn connect(&self, addresses: &[SocketAddr]) -> Result<Box<dyn Stream>, CallError> {
        let remote = &self.config.remote;
        let stream = TcpStream::connect(addresses).await.map_err(CallError::Connect)?;
        // Commands are small and waited for.
        stream.set_nodelay(true)?;
        if !remote.tls {
            return Ok(Box::new(stream));
        }
        let config = self.config.tls.clone().ok_or(CallError::NoTls)?;
        let name = ServerName::try_from(remote.host.clone())
            .map_err(|error| CallError::Tls(io::Error::other(error)))?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(CallError::Tls)?;
        Ok(Box::new(stream))
    }

    fn session(&self, peer: SocketAddr, link: &Arc<Link>) -> Session {
        let path = &self.config.path;
        let (direction, publish, subscribe) = match self.config.way {
            Way::Push => (Direction::Subscribe, vec![], vec![Pattern::exact(path)]),
            Way::Pull => (Direction::Publish, vec![Pattern::exact(path)], vec![]),
        };
        let credential = Credential::None;
        let request = Request { protocol: Protocol::Rtmp, direction, path: path.clone(), credential, peer };
        // The operator wrote it down, which is all the admission that it needs.
        let identity = Identity::Credential(self.config.remote.to_string().into());
        let grant = Grant { publish, subscribe, ..Grant::new(identity) };
        let link: Arc<Link> = Arc::clone(link);
        self.gate.open(request, grant, SystemTime::now(), Some(link))
    }
}
