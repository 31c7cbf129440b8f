//! One connection that a caller made: its socket, its client session, and what goes over it.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use moqgate_core::Session;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::caller::{CallError, Hangup};
use crate::connection::{playable, sleep_until};
use crate::egress::Player;
use crate::ingest::Ingest;
use crate::proto::command::Capabilities;
use crate::session::client::{Client, ClientError, ClientEvent};
use crate::stats::Link;

/// Read at once.
const READ_SIZE: usize = 16 << 10;
/// Read while a broadcast is opened: a server has next to nothing to say then.
const WAITING_INPUT: usize = 64 << 10;
/// Most that a server may take to read what we say.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Most that a goodbye may take.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);

/// What goes over a connection.
pub(crate) enum Media {
    In(Box<Ingest>),
    Out(Box<Player>),
}

impl Media {
    /// Gives out the rest of what came in, and ends the broadcast.
    pub(crate) fn finish(self, now: Instant) {
        if let Self::In(ingest) = self {
            ingest.finish(now);
        }
    }

    fn player(&mut self) -> Option<&mut Player> {
        if let Self::Out(player) = self { Some(player) } else { None }
    }

    fn timeout(&self) -> Option<Instant> {
        if let Self::In(ingest) = self { ingest.timeout() } else { None }
    }
}

/// A connection that was made.
pub(crate) struct Line<S> {
    stream: S,
    input: BytesMut,
    client: Client,
    link: Arc<Link>,
    /// The server has said that what is played is over.
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    pub(crate) fn new(stream: S, client: Client, link: Arc<Link>) -> Self {
        Self { stream, input: BytesMut::new(), client, link, ended: false }
    }

    /// Up to the server's yes: what it can take.
    pub(crate) async fn agree(&mut self) -> Result<Capabilities, CallError> {
        loop {
            self.client.push(&mut self.input, Instant::now())?;
            if let Some(ClientEvent::Started(capabilities)) = self.client.poll() {
                return Ok(capabilities);
            }
            self.write().await?;
            tokio::select! {
                () = sleep_until(self.client.poll_timeout()) => self.client.handle_timeout(Instant::now())?,
                read = read(&mut self.stream, &mut self.input, &self.link) => {
                    if read? == 0 {
                        return Err(CallError::Closed);
                    }
                }
            }
        }
    }

    /// Does `work`, unless the server leaves before it is done.
    pub(crate) async fn while_open<T>(&mut self, work: impl Future<Output = T>) -> Result<T, CallError> {
        self.write().await?;
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                read = read(&mut self.stream, &mut self.input, &self.link),
                    if self.input.len() < WAITING_INPUT =>
                {
                    if read? == 0 {
                        return Err(CallError::Closed);
                    }
                }
            }
        }
    }

    /// Serves the connection to its end.
    pub(crate) async fn talk(
        &mut self,
        media: &mut Media,
        session: &Session,
        stop: &CancellationToken,
    ) -> Result<Hangup, CallError> {
        let pulls = matches!(media, Media::In(_));
        tokio::select! {
            biased;
            reason = session.killed() => Err(CallError::Killed(reason)),
            // What is pulled ends at once; what is pushed is sent before.
            () = stop.cancelled(), if pulls => Ok(Hangup::Stopping),
            () = overdue(stop), if !pulls => Ok(Hangup::Stopping),
            end = self.run(media, stop) => end,
        }
    }

    /// Says goodbye, and listens until the server has closed too: closing with bytes unread would take from it what it has
    /// not read yet.
    pub(crate) async fn leave(mut self) {
        self.client.finish();
        tokio::time::timeout(LEAVE_LIMIT, self.say_goodbye()).await.ok();
    }

    async fn say_goodbye(&mut self) -> Result<(), CallError> {
        self.write().await?;
        self.stream.shutdown().await?;
        loop {
            self.input.clear();
            if read(&mut self.stream, &mut self.input, &self.link).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn run(&mut self, media: &mut Media, stop: &CancellationToken) -> Result<Hangup, CallError> {
        loop {
            let now = Instant::now();
            let outcome = self.client.push(&mut self.input, now);
            let mut any = self.receive(media, now)?;
            match outcome {
                Ok(()) => {}
                Err(ClientError::Closed) => return Ok(Hangup::Closed),
                Err(error) => return Err(error.into()),
            }
            if self.ended {
                return Ok(Hangup::Over);
            }
            if let Some(player) = media.player() {
                player.advance().await;
                let over = player.is_over();
                any |= send(&mut self.client, player);
                if over || stop.is_cancelled() && !any {
                    player.finish();
                    send(&mut self.client, player);
                    self.write().await?;
                    return Ok(if over { Hangup::Over } else { Hangup::Stopping });
                }
            }
            self.write().await?;
            if any {
                continue;
            }
            if let Some(end) = self.wait(media, stop).await? {
                return Ok(end);
            }
        }
    }

    /// Takes what came. Whether that was anything.
    fn receive(&mut self, media: &mut Media, now: Instant) -> Result<bool, CallError> {
        let mut any = false;
        while let Some(event) = self.client.poll() {
            any = true;
            match (event, &mut *media) {
                (ClientEvent::Tag(tag), Media::In(ingest)) => {
                    ingest.push(tag, now).map_err(|_| CallError::Replaced)?;
                }
                (ClientEvent::Ended, _) => self.ended = true,
                (ClientEvent::Tag(_) | ClientEvent::Started(_), _) => {}
            }
        }
        Ok(any)
    }

    /// Until there is something to do.
    async fn wait(
        &mut self,
        media: &mut Media,
        stop: &CancellationToken,
    ) -> Result<Option<Hangup>, CallError> {
        let timeout = [self.client.poll_timeout(), media.timeout()].into_iter().flatten().min();
        self.input.reserve(READ_SIZE);
        tokio::select! {
            () = sleep_until(timeout) => {
                let now = Instant::now();
                self.client.handle_timeout(now)?;
                if let Media::In(ingest) = media {
                    ingest.handle_timeout(now).map_err(|_| CallError::Replaced)?;
                }
            }
            read = read(&mut self.stream, &mut self.input, &self.link) => {
                if read? == 0 {
                    return Ok(Some(Hangup::Closed));
                }
            }
            () = playable(media.player()) => {}
            () = stop.cancelled() => {}
        }
        Ok(None)
    }

    async fn write(&mut self) -> Result<(), CallError> {
        let output = self.client.output();
        if output.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all(&output).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(WRITE_LIMIT, write).await {
            Ok(written) => written?,
            Err(_) => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
        self.link.bytes_sent.fetch_add(output.len() as u64, Relaxed);
        Ok(())
    }
}

/// Sends what the player has. Whether that was anything.
fn send(client: &mut Client, player: &mut Player) -> bool {
    let mut any = false;
    while let Some(tag) = player.tag() {
        any = true;
        client.send(tag);
    }
    any
}

/// A while after the stop.
async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LEAVE_LIMIT).await;
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S, input: &mut BytesMut, link: &Link) -> io::Result<usize> {
    let read = stream.read_buf(input).await?;
    link.bytes_received.fetch_add(read as u64, Relaxed);
    Ok(read)
}
