//! One connection: its socket, its session, and what it publishes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use moqgate_core::{
    Denied, DenyReason, Direction, KillReason, Protocol, PublishError, PublishOptions, Request,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::ingest::Ingest;
use crate::listen::Shared;
use crate::places::Seat;
use crate::session::{Ask, Event, Refusal, Session, SessionError};
use crate::stats::Link;

/// Read at once: a fifth of a second of 600 kbit/s, and little enough for ten thousand connections.
const READ_SIZE: usize = 16 << 10;
/// Most that a decision may take; encoders wait longer.
const DECISION_LIMIT: Duration = Duration::from_secs(10);
/// Most that a peer may take to read what we say.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// How long a peer is listened to after the last word, so that it gets to read it.
const LINGER: Duration = Duration::from_millis(500);

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The peer closed it.
    Closed,
    /// The peer is not understood, or took too long.
    Session(SessionError),
    /// Nobody wanted it.
    Refused(Denied),
    /// The socket failed.
    Io(io::Error),
    /// Ended from outside.
    Killed(KillReason),
    /// The broadcast is not its own any more.
    Replaced,
    /// The process stops.
    Stopping,
}

struct Connection<S> {
    stream: S,
    input: BytesMut,
    session: Session,
    peer: SocketAddr,
    seat: Seat,
    shared: Arc<Shared>,
    link: Arc<Link>,
    ingest: Option<Ingest>,
}

/// Serves a peer that has to say what it wants until `deadline`.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: SocketAddr,
    seat: Seat,
    shared: Arc<Shared>,
    deadline: Instant,
    shutdown: CancellationToken,
) {
    let now = Instant::now();
    let mut limits = shared.limits;
    limits.start = deadline.saturating_duration_since(now);
    let mut connection = Connection {
        stream,
        input: BytesMut::new(),
        session: Session::new(limits, rand::random(), now),
        peer,
        seat,
        shared,
        link: Arc::default(),
        ingest: None,
    };
    let end = connection.run(&shutdown).await;
    connection.stop_publishing();
    report(&connection.shared, peer, &end);
    if matches!(end, End::Session(_) | End::Refused(_)) {
        connection.linger().await;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn run(&mut self, shutdown: &CancellationToken) -> End {
        loop {
            let worked = tokio::select! {
                biased;
                () = shutdown.cancelled() => return End::Stopping,
                worked = self.work() => worked,
            };
            if let Err(end) = worked {
                return end;
            }
            self.input.reserve(READ_SIZE);
            let of_ingest = self.ingest.as_ref().and_then(Ingest::timeout);
            let timeout = [self.session.poll_timeout(), of_ingest].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return End::Stopping,
                reason = killed(self.ingest.as_ref().map(Ingest::session)) => return End::Killed(reason),
                () = sleep_until(timeout) => {
                    if let Err(end) = self.handle_timeout(Instant::now()) {
                        return end;
                    }
                }
                read = self.stream.read_buf(&mut self.input) => match read {
                    Ok(0) => return End::Closed,
                    Ok(read) => {
                        self.shared.metrics.bytes.fetch_add(read as u64, Relaxed);
                        self.link.bytes_received.fetch_add(read as u64, Relaxed);
                    }
                    Err(error) => return End::Io(error),
                },
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), End> {
        self.session.handle_timeout(now).map_err(End::Session)?;
        match &mut self.ingest {
            Some(ingest) => ingest.handle_timeout(now).map_err(|_| End::Replaced),
            None => Ok(()),
        }
    }

    /// Does all that the input says, until more of it is needed.
    async fn work(&mut self) -> Result<(), End> {
        loop {
            let now = Instant::now();
            let outcome = self.session.push(&mut self.input, now);
            let mut any = false;
            while let Some(event) = self.session.poll() {
                any = true;
                match event {
                    Event::Ask(ask) => self.ask(*ask).await?,
                    Event::Tag(tag) => {
                        if let Some(ingest) = &mut self.ingest {
                            ingest.push(tag, now).map_err(|_| End::Replaced)?;
                        }
                    }
                    Event::Stopped => self.stop_publishing(),
                }
            }
            self.flush().await?;
            outcome.map_err(End::Session)?;
            if !any {
                return Ok(());
            }
        }
    }

    async fn ask(&mut self, ask: Ask) -> Result<(), End> {
        let direction = ask.direction;
        let decision = admit(&self.shared, self.peer, &self.link, ask);
        let decision = match tokio::time::timeout(DECISION_LIMIT, decision).await {
            Ok(decision) => decision,
            Err(_) => Err(denied(DenyReason::Unavailable, "admission took too long")),
        };
        match decision {
            Ok(ingest) => {
                info!(peer = %self.peer, path = %ingest.path(), "RTMP publisher");
                self.seat.settle();
                self.ingest = Some(ingest);
                self.session.accept(Instant::now());
                Ok(())
            }
            Err(denied) => {
                self.session.refuse(&Refusal::new(direction, denied.reason, denied.detail.clone()));
                self.flush().await?;
                Err(End::Refused(denied))
            }
        }
    }

    fn stop_publishing(&mut self) {
        if let Some(ingest) = self.ingest.take() {
            info!(peer = %self.peer, path = %ingest.path(), "RTMP publisher left");
            ingest.finish(Instant::now());
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        let output = self.session.output();
        if output.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all(&output).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(WRITE_LIMIT, write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(End::Io(error)),
            Err(_) => return Err(End::Io(io::ErrorKind::TimedOut.into())),
        }
        self.shared.metrics.sent.fetch_add(output.len() as u64, Relaxed);
        self.link.bytes_sent.fetch_add(output.len() as u64, Relaxed);
        Ok(())
    }

    /// Closing with bytes unread would take the last word away from the peer.
    async fn linger(mut self) {
        let last = async {
            self.stream.shutdown().await?;
            let mut waste = [0; 1024];
            while self.stream.read(&mut waste).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        tokio::time::timeout(LINGER, last).await.ok();
    }
}

/// Decides about a publisher, and opens what it publishes into.
async fn admit(shared: &Shared, peer: SocketAddr, link: &Arc<Link>, ask: Ask) -> Result<Ingest, Denied> {
    if ask.direction != Direction::Publish {
        return Err(denied(DenyReason::Unavailable, "nothing is played over RTMP here"));
    }
    let path = ask.name.path;
    let request = Request {
        protocol: Protocol::Rtmp,
        direction: ask.direction,
        path: path.clone(),
        credential: ask.name.credential,
        peer,
    };
    let grant = shared.gate.admit(&request).await?;
    let session = shared.gate.open(request, grant, SystemTime::now(), Some(link.clone()));
    let publish = session.publisher().publish(&path, PublishOptions::default(), Instant::now());
    let broadcast = publish.map_err(|error| {
        let reason = match error {
            PublishError::Busy => DenyReason::Conflict,
            PublishError::Forbidden | _ => DenyReason::Forbidden,
        };
        denied(reason, &error.to_string())
    })?;
    Ok(Ingest::new(session, broadcast, Arc::clone(link)))
}

/// Counts and logs how a connection ended.
pub(crate) fn report(shared: &Shared, peer: SocketAddr, end: &End) {
    match end {
        End::Closed | End::Stopping => debug!(%peer, ?end, "RTMP connection ended"),
        End::Killed(reason) => info!(%peer, %reason, "RTMP connection ended"),
        End::Replaced => info!(%peer, "RTMP connection ended: the broadcast was taken over"),
        End::Session(error) => {
            shared.metrics.fail(error.as_str());
            if shared.may_log(Instant::now()) {
                info!(%peer, reason = error.as_str(), %error, "RTMP connection ended");
            }
        }
        End::Refused(denied) => {
            shared.metrics.refuse(denied.reason);
            if shared.may_log(Instant::now()) {
                info!(%peer, reason = denied.reason.as_str(), detail = denied.detail, "RTMP peer refused");
            }
        }
        End::Io(error) => {
            shared.metrics.fail("disconnected");
            if shared.may_log(Instant::now()) {
                info!(%peer, %error, "RTMP connection broke");
            }
        }
    }
}

fn denied(reason: DenyReason, detail: &str) -> Denied {
    Denied { reason, detail: detail.to_owned() }
}

async fn killed(session: Option<&moqgate_core::Session>) -> KillReason {
    match session {
        Some(session) => session.killed().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
