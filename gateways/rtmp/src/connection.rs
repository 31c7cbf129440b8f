//! One connection: its socket, its session, and what it publishes or plays.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use moqgate_core::usage::EndReason;
use moqgate_core::{Denied, DenyReason, Direction, KillReason, Path, Rarely, Seat};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::admit::{admit, until_gone};
use crate::egress::Player;
use crate::ingest::Ingest;
use crate::listen::Shared;
use crate::session::{Ask, Event, Refusal, Session, SessionError};
use crate::stats::Link;

/// Read at once: a fifth of a second of 600 kbit/s, and little enough for ten thousand connections.
const READ_SIZE: usize = 16 << 10;
/// Most that a peer may take to read what we say.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// A timer that nothing has asked for yet.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
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
    /// All of the broadcast was played.
    Finished,
    /// The process stops.
    Stopping,
}

impl End {
    /// What the ledger is told, where the peer did not simply leave.
    fn for_ledger(&self) -> Option<EndReason> {
        match self {
            Self::Session(_) | Self::Refused(_) => Some(EndReason::Failed),
            Self::Io(_) => Some(EndReason::Lost),
            Self::Finished => Some(EndReason::Finished),
            Self::Stopping => Some(EndReason::Stopped),
            Self::Closed | Self::Killed(_) | Self::Replaced => None,
        }
    }
}

struct Connection<S> {
    stream: S,
    input: BytesMut,
    session: Session,
    peer: SocketAddr,
    seat: Seat,
    shared: Arc<Shared>,
    link: Arc<Link>,
    live: Option<Live>,
}

/// What the peer was let in for. The session is dropped last: it is what the rest is charged to.
pub(crate) struct Live {
    pub(crate) path: Path,
    pub(crate) media: Media,
    pub(crate) session: moqgate_core::Session,
}

pub(crate) enum Media {
    In(Box<Ingest>),
    Out(Box<Player>),
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
        live: None,
    };
    let end = connection.run(&shutdown).await;
    if let (Some(live), Some(reason)) = (&connection.live, end.for_ledger()) {
        live.session.ending(reason);
    }
    connection.stop();
    report(&connection.shared, peer, &end);
    if matches!(end, End::Session(_) | End::Refused(_) | End::Finished | End::Killed(_)) {
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
            let waited = match &self.live {
                Some(Live { media: Media::In(_), .. }) => self.receive(shutdown).await,
                Some(Live { media: Media::Out(_), .. }) | None => self.wait(shutdown).await,
            };
            match waited {
                Ok(()) => {}
                Err(End::Killed(reason)) => {
                    self.say_why(reason).await;
                    return End::Killed(reason);
                }
                Err(end) => {
                    // What ended the session may have been answered.
                    self.flush().await.ok();
                    return end;
                }
            }
        }
    }

    /// Takes a publisher's media in, until there is something else to do. This is woken for every frame: nothing in here
    /// takes a lock or sets a timer that does not have to.
    async fn receive(&mut self, shutdown: &CancellationToken) -> Result<(), End> {
        let first = self.timeout();
        let Self { stream, input, session, shared, link, live, .. } = self;
        let Some(Live { session: model, media: Media::In(ingest), .. }) = live else { return Ok(()) };
        let ended = pin!(async {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => End::Stopping,
                reason = model.killed() => End::Killed(reason),
            }
        });
        let mut ended = Rarely::new(ended);
        let mut armed = first.unwrap_or_else(|| Instant::now() + LONGEST_SLEEP);
        let mut timer = pin!(tokio::time::sleep_until(armed.into()));
        poll_fn(|cx| {
            if let Poll::Ready(end) = Pin::new(&mut ended).poll(cx) {
                return Poll::Ready(Err(end));
            }
            loop {
                let late = timer.as_mut().poll(cx).is_ready();
                if late {
                    let now = Instant::now();
                    session.handle_timeout(now).map_err(End::Session)?;
                    ingest.handle_timeout(now).map_err(|_| End::Replaced)?;
                }
                // A deadline that has moved on, as most do with every frame, is looked at when the old one comes.
                let due = session.poll_timeout().into_iter().chain(ingest.timeout()).min();
                if let Some(at) = due.filter(|at| late || *at < armed) {
                    armed = at;
                    timer.as_mut().reset(armed.into());
                    continue;
                }
                if session.wants_attention() {
                    return Poll::Ready(Ok(()));
                }
                input.reserve(READ_SIZE.saturating_sub(input.len()));
                match ready!(pin!(stream.read_buf(input)).poll(cx)) {
                    Ok(0) => return Poll::Ready(Err(End::Closed)),
                    Ok(read) => count(shared, link, read),
                    Err(error) => return Poll::Ready(Err(End::Io(error))),
                }
                let now = Instant::now();
                let mut any = true;
                while std::mem::take(&mut any) && !input.is_empty() {
                    let outcome = session.push(input, now);
                    while let Some(tag) = session.poll_tag() {
                        any = true;
                        ingest.push(tag, now).map_err(|_| End::Replaced)?;
                    }
                    outcome.map_err(End::Session)?;
                }
            }
        })
        .await
    }

    /// Waits for something to do, for anybody but a publisher.
    async fn wait(&mut self, shutdown: &CancellationToken) -> Result<(), End> {
        self.input.reserve(READ_SIZE.saturating_sub(self.input.len()));
        let timeout = self.timeout();
        let (session, player) = match &mut self.live {
            Some(Live { session, media: Media::Out(player), .. }) => (Some(&*session), Some(&mut **player)),
            Some(Live { session, media: Media::In(_), .. }) => (Some(&*session), None),
            None => (None, None),
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(End::Stopping),
            reason = killed(session) => return Err(End::Killed(reason)),
            () = sleep_until(timeout) => self.handle_timeout(Instant::now())?,
            read = self.stream.read_buf(&mut self.input) => match read {
                Ok(0) => return Err(End::Closed),
                Ok(read) => count(&self.shared, &self.link, read),
                Err(error) => return Err(End::Io(error)),
            },
            () = playable(player) => {}
        }
        Ok(())
    }

    fn ingest(&mut self) -> Option<&mut Ingest> {
        match &mut self.live {
            Some(Live { media: Media::In(ingest), .. }) => Some(ingest),
            _ => None,
        }
    }

    fn timeout(&mut self) -> Option<Instant> {
        let of_session = self.session.poll_timeout();
        let of_ingest = self.ingest().and_then(|ingest| ingest.timeout());
        [of_session, of_ingest].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), End> {
        self.session.handle_timeout(now).map_err(End::Session)?;
        self.ingest().map_or(Ok(()), |ingest| ingest.handle_timeout(now)).map_err(|_| End::Replaced)
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
                        if let Some(ingest) = self.ingest() {
                            ingest.push(tag, now).map_err(|_| End::Replaced)?;
                        }
                    }
                    Event::Stopped => self.stop(),
                }
            }
            self.flush().await?;
            outcome.map_err(End::Session)?;
            if !any {
                return self.play().await;
            }
        }
    }

    /// Sends what there is for a player.
    async fn play(&mut self) -> Result<(), End> {
        loop {
            let Some(Live { media: Media::Out(player), .. }) = &mut self.live else { return Ok(()) };
            player.advance().await;
            let mut any = false;
            while let Some(tag) = player.tag() {
                any = true;
                self.session.send(tag);
            }
            let over = player.is_over();
            self.flush().await?;
            if over {
                self.again().await?;
            } else if !any {
                return Ok(());
            }
        }
    }

    /// Waits for the publisher to come back, and plays on. What the player says meanwhile is read later.
    async fn again(&mut self) -> Result<(), End> {
        let Some(Live { path, media: Media::Out(player), session }) = self.live.take() else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let next = player.next(&session, shared.play_wait);
        let next = tokio::select! {
            biased;
            reason = session.killed() => {
                let why = Refusal::new(Direction::Subscribe, DenyReason::Forbidden, reason.to_string());
                self.session.end(&why);
                self.flush().await.ok();
                return Err(End::Killed(reason));
            }
            next = until_gone(&mut self.stream, &mut self.input, &shared, &self.link, next) => next?,
        };
        if let Ok(player) = next {
            self.live = Some(Live { path, media: Media::Out(Box::new(player)), session });
            return Ok(());
        }
        info!(peer = %self.peer, %path, "RTMP peer left");
        self.session.finish();
        self.flush().await?;
        Err(End::Finished)
    }

    async fn ask(&mut self, ask: Ask) -> Result<(), End> {
        let direction = ask.direction;
        let decision = self.decide(ask).await;
        if let Err(End::Killed(reason)) = &decision {
            self.session.refuse(&Refusal::new(direction, DenyReason::Forbidden, reason.to_string()));
            self.flush().await.ok();
        }
        match decision? {
            Ok(live) => {
                info!(peer = %self.peer, path = %live.path, direction = direction.as_str(), "RTMP peer");
                self.seat.settle();
                self.live = Some(live);
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

    /// Tells a peer that is ended from outside what ffmpeg and OBS show to their user.
    async fn say_why(&mut self, reason: KillReason) {
        let direction = match &self.live {
            Some(Live { media: Media::Out(_), .. }) => Direction::Subscribe,
            Some(Live { media: Media::In(_), .. }) | None => Direction::Publish,
        };
        self.session.end(&Refusal::new(direction, DenyReason::Forbidden, reason.to_string()));
        // A peer that does not read any more cannot be told.
        self.flush().await.ok();
    }

    /// Decides about the peer, unless it leaves before that: a player may have to wait for its broadcast.
    async fn decide(&mut self, ask: Ask) -> Result<Result<Live, Denied>, End> {
        let shared = Arc::clone(&self.shared);
        let link = Arc::clone(&self.link);
        let decision = admit(&shared, self.peer, &link, ask);
        until_gone(&mut self.stream, &mut self.input, &shared, &link, decision).await?
    }

    fn stop(&mut self) {
        let Some(Live { path, media, session }) = self.live.take() else { return };
        info!(peer = %self.peer, %path, "RTMP peer left");
        if let Media::In(ingest) = media {
            ingest.finish(Instant::now());
        }
        drop(session);
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
        let written = tokio::select! {
            biased;
            written = tokio::time::timeout(WRITE_LIMIT, write) => written,
            // A peer that does not read can be ended all the same.
            reason = killed(self.live.as_ref().map(|live| &live.session)) => return Err(End::Killed(reason)),
        };
        match written {
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

pub(crate) fn count(shared: &Shared, link: &Link, read: usize) {
    shared.metrics.bytes.fetch_add(read as u64, Relaxed);
    link.bytes_received.fetch_add(read as u64, Relaxed);
}

/// Counts and logs how a connection ended.
pub(crate) fn report(shared: &Shared, peer: SocketAddr, end: &End) {
    match end {
        End::Closed | End::Finished | End::Stopping => debug!(%peer, ?end, "RTMP connection ended"),
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

async fn killed(session: Option<&moqgate_core::Session>) -> KillReason {
    match session {
        Some(session) => session.killed().await,
        None => std::future::pending().await,
    }
}

/// Waits until a player has something to do.
pub(crate) async fn playable(player: Option<&mut Player>) {
    match player {
        Some(player) => poll_fn(|cx| player.poll(cx)).await,
        None => std::future::pending().await,
    }
}

pub(crate) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
