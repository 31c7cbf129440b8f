//! The caller: pushes a local broadcast to a remote listener, or pulls a remote one, and calls again when it ends.

use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use moqgate_core::{
    Backoff, CallCounters, Credential, Direction, Gate, Grant, Identity, KillReason, Path, Pattern, Protocol,
    PublishError, PublishOptions, Request, Session,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::call::{CallError, Called, Calling, Offer};
use crate::crypto::{Crypto, Generated, KeyError};
use crate::egress::{Play, play};
use crate::feed::{Dock, feed};
use crate::ingest::{Ending, EndingGuard, ingest};
use crate::io::{Batch, Route, Wire};
use crate::line::{Line, Media, NewLine, Tools};
use crate::metrics::Metrics;
use crate::queue::queue;
use crate::remote::Remote;
use crate::stats::Link;

/// Receive buffer, packets: libsrt's default.
const WINDOW: u32 = 8192;
/// Endings of a connection's task: it sends one.
const ENDINGS: usize = 2;
/// What is pushed and has ended is sent to its end when the process stops, for at most this long.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);
/// Socket ids and sequence numbers have 30 bits that all peers accept.
const ID_MASK: u32 = (1 << 30) - 1;

/// Which way media goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From a local broadcast to the remote listener.
    Push,
    /// From the remote listener to a local broadcast.
    Pull,
}

/// Settings of one caller.
#[derive(Debug, Clone)]
pub struct CallerConfig {
    /// Whom to call.
    pub remote: Remote,
    /// The local broadcast.
    pub path: Path,
    /// What to do.
    pub way: Way,
    /// Wait after the first failure; it doubles from failure to failure.
    pub backoff_min: Duration,
    /// Longest wait between two attempts.
    pub backoff_max: Duration,
}

impl CallerConfig {
    /// Calls again after 1 s at first, 30 s at last.
    pub fn new(way: Way, remote: Remote, path: Path) -> Self {
        let (backoff_min, backoff_max) = (Duration::from_secs(1), Duration::from_secs(30));
        Self { remote, path, way, backoff_min, backoff_max }
    }
}

/// Keeps one connection to a remote listener.
#[derive(Debug)]
pub struct Caller {
    config: CallerConfig,
    gate: Gate,
    counters: CallCounters,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("cannot look up the address: {0}")]
    Lookup(std::io::Error),
    #[error("the name has no address")]
    NoAddress,
    #[error("{0}")]
    Socket(#[from] std::io::Error),
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("{0}")]
    Publish(#[from] PublishError),
    #[error("no keys: {0}")]
    Keys(#[from] KeyError),
    #[error("{0}")]
    Killed(KillReason),
    #[error("the process is stopping")]
    Stopping,
}

/// A socket and its memory.
struct Phone {
    wire: Wire,
    batch: Batch,
    remote: SocketAddr,
}

impl Caller {
    /// A caller that has not called yet.
    pub fn new(config: CallerConfig, gate: Gate) -> Self {
        Self { config, gate, counters: CallCounters::default() }
    }

    /// Its counters; they outlive it.
    pub fn counters(&self) -> CallCounters {
        self.counters.clone()
    }

    /// Calls until `shutdown`, then says goodbye and waits for every task.
    pub async fn run(self, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        let mut backoff = Backoff::new(self.config.backoff_min, self.config.backoff_max, rand::random());
        let mut failing = false;
        while !shutdown.is_cancelled() {
            let outcome = self.attempt(&tasks, &shutdown).await;
            if shutdown.is_cancelled() {
                break;
            }
            let (remote, path) = (&self.config.remote, &self.config.path);
            let wait = backoff.after(outcome.as_ref().copied().unwrap_or_default());
            let retry_s = wait.as_secs_f32();
            match outcome {
                Ok(_) => {
                    failing = false;
                    info!(%remote, %path, retry_s, "SRT call ended");
                }
                Err(error) => {
                    self.counters.fail();
                    if std::mem::replace(&mut failing, true) {
                        debug!(%remote, %path, %error, retry_s, "SRT call failed");
                    } else {
                        warn!(%remote, %path, %error, retry_s, "SRT call failed");
                    }
                }
            }
            shutdown.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
        tasks.close();
        tasks.wait().await;
    }

    /// One connection from its beginning to its end; how long it lasted.
    async fn attempt(
        &self,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Result<Duration, AttemptError> {
        let stopping = || AttemptError::Stopping;
        let connect = shutdown.run_until_cancelled(self.connect(tasks));
        let (session, link, mut phone, called, local_id) = connect.await.ok_or_else(stopping)??;
        let _live = self.counters.open();
        let since = Instant::now();
        let dock = Arc::<Dock>::default();
        let (endings, mut ended) = mpsc::channel(ENDINGS);
        let ending = EndingGuard::new(local_id, endings);
        let media = match self.config.way {
            Way::Pull => {
                let options = PublishOptions::default();
                let broadcast = session.publisher().publish(&self.config.path, options, since)?;
                let (inlet, outlet) = queue();
                tasks.spawn(ingest(session, broadcast, Arc::clone(&link), outlet, ending));
                Media::In(inlet)
            }
            Way::Push => {
                let (writer, reader) = feed(Arc::clone(&dock), local_id);
                // It is there, or was a moment ago.
                let new =
                    Play::new(session, self.config.path.clone(), Backoff::SETTLED, &called.terms, writer);
                tasks.spawn(play(new, ending));
                Media::Out(reader)
            }
        };
        let Called { terms, keys, start } = called;
        let new = NewLine {
            local_id,
            route: Route { peer: phone.remote, local: None },
            path: self.config.path.clone(),
            terms,
            start,
            crypto: keys.map(|keys| keys.crypto),
            recv_window: WINDOW,
            media,
            who: match self.config.way {
                Way::Push => "push target",
                Way::Pull => "pull source",
            },
            link,
        };
        let line = Line::new(new, since);
        let stop = async {
            shutdown.cancelled().await;
            if self.config.way == Way::Push {
                tokio::time::sleep(LEAVE_LIMIT).await;
            }
        };
        phone.talk(line, &dock, &mut ended, stop).await?;
        Ok(since.elapsed())
    }

    /// Up to the listener's yes. A push begins when there is something to push.
    async fn connect(
        &self,
        tasks: &TaskTracker,
    ) -> Result<(Session, Arc<Link>, Phone, Called, u32), AttemptError> {
        let remote = &self.config.remote;
        let mut found = tokio::net::lookup_host(&remote.address).await.map_err(AttemptError::Lookup)?;
        let address = found.next().ok_or(AttemptError::NoAddress)?;
        let link = Arc::<Link>::default();
        let session = self.session(address, &link);
        if self.config.way == Way::Push {
            let consumer = session.consumer();
            tokio::select! {
                biased;
                // The grant is ours and covers the path.
                found = consumer.wait(&self.config.path) => drop(found),
                reason = session.killed() => return Err(AttemptError::Killed(reason)),
            }
        }
        self.counters.attempt();
        let keys = self.keys(tasks).await?;
        let any = match address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let mut phone = Phone { wire: Wire::bind(any)?, batch: Batch::new(), remote: address };
        let local_id = rand::random::<u32>() & ID_MASK | 1;
        let offer = Offer {
            remote: address,
            stream_id: remote.stream_id.clone(),
            latency: u16::try_from(remote.latency.as_millis()).unwrap_or(u16::MAX),
            flow_window: WINDOW,
            local_id,
            initial_seq: rand::random::<u32>() & ID_MASK,
        };
        let called = phone.call(Calling::new(offer, keys, Instant::now())).await?;
        Ok((session, link, phone, called, local_id))
    }

    fn session(&self, peer: SocketAddr, link: &Arc<Link>) -> Session {
        let path = &self.config.path;
        let (direction, publish, subscribe) = match self.config.way {
            Way::Push => (Direction::Subscribe, vec![], vec![Pattern::exact(path)]),
            Way::Pull => (Direction::Publish, vec![Pattern::exact(path)], vec![]),
        };
        let credential = Credential::None;
        let request = Request { protocol: Protocol::Srt, direction, path: path.clone(), credential, peer };
        // The operator wrote it down, which is all the admission that it needs.
        let identity = Identity::Credential(self.config.remote.to_string().into());
        let grant = Grant { publish, subscribe, ..Grant::new(identity) };
        let stats: Arc<Link> = Arc::clone(link);
        let session = self.gate.open(request, grant, SystemTime::now(), Some(stats));
        link.belongs_to(&session);
        session
    }

    async fn keys(&self, tasks: &TaskTracker) -> Result<Option<Generated>, AttemptError> {
        let Some(passphrase) = self.config.remote.passphrase.clone() else { return Ok(None) };
        let length = self.config.remote.key_length;
        let made = tasks.spawn_blocking(move || Crypto::generate(passphrase, length)).await;
        Ok(Some(made.map_err(|_| AttemptError::Stopping)??))
    }
}

impl Phone {
    async fn call(&mut self, mut calling: Calling) -> Result<Called, AttemptError> {
        let route = Route { peer: self.remote, local: None };
        loop {
            let now = Instant::now();
            calling.check(now)?;
            if let Some(datagram) = calling.poll_transmit(now) {
                // A datagram that is not sent is like one that is lost: it is repeated.
                self.wire.send(&datagram, route).ok();
            }
            tokio::select! {
                () = tokio::time::sleep_until(calling.poll_timeout().into()) => {}
                ready = self.wire.readable() => {
                    ready?;
                    self.wire.receive(&mut self.batch)?;
                    let now = Instant::now();
                    for (datagram, from) in self.batch.datagrams() {
                        if from.peer != self.remote {
                            continue;
                        }
                        if let Some(called) = calling.handle(datagram, now)? {
                            return Ok(called);
                        }
                    }
                }
            }
        }
    }

    /// Serves the connection to its end, or closes it after `stop`.
    async fn talk(
        &mut self,
        mut line: Line,
        dock: &Dock,
        ended: &mut mpsc::Receiver<Ending>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), AttemptError> {
        let mut stop = std::pin::pin!(stop);
        let metrics = Metrics::new(self.wire.local_addr()?);
        let mut payloads = Vec::new();
        loop {
            let now = Instant::now();
            if line.is_due(now) {
                let mut tools = Tools { wire: &self.wire, metrics: &metrics, payloads: &mut payloads };
                if let Some(reason) = line.pump(&mut tools, now) {
                    line.log_end(reason);
                    return Ok(());
                }
            }
            tokio::select! {
                biased;
                () = &mut stop, if !line.is_closing() => {
                    line.close("the server is stopping", Instant::now());
                }
                Some(ending) = ended.recv() => line.end(&ending, Instant::now()),
                () = dock.ready() => {
                    dock.take();
                    line.touch();
                }
                () = sleep_until(line.deadline()) => {}
                ready = self.wire.readable() => {
                    ready?;
                    self.wire.receive(&mut self.batch)?;
                    let now = Instant::now();
                    for (datagram, from) in self.batch.datagrams() {
                        if from.peer == self.remote {
                            line.handle(datagram, now);
                        }
                    }
                }
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
