//! The port: one TCP listener, and a task per connection.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moqgate_core::{Full, Gate, Places, Seat};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::config::Config;
use crate::connection::{self, End};
use crate::error::BindError;
use crate::metrics::Metrics;
use crate::session::Limits;

/// Connections that the kernel holds for us while we are busy.
const BACKLOG: i32 = 1024;
/// After an error, as when there are no more file handles: long enough not to spin.
const ERROR_PAUSE: Duration = Duration::from_millis(50);
/// First byte of a TLS record with a ClientHello.
const TLS: u8 = 0x16;
/// Lines per second in the log about connections that failed or were refused.
const LINES: u32 = 20;

/// A bound RTMP listener.
pub struct Listener {
    socket: TcpListener,
    local: SocketAddr,
    places: Arc<Places>,
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
}

/// What every connection needs.
pub(crate) struct Shared {
    pub(crate) gate: Gate,
    pub(crate) limits: Limits,
    pub(crate) play_wait: Duration,
    pub(crate) metrics: Arc<Metrics>,
    log: Mutex<LogLimit>,
}

impl Shared {
    /// Whether one more line about a stranger may be written. The metrics count all of them.
    pub(crate) fn may_log(&self, now: Instant) -> bool {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).allows(now)
    }
}

impl Listener {
    /// Takes the address. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`], one clear line.
    pub fn bind(config: Config, gate: Gate) -> Result<Self, BindError> {
        let address = config.listen;
        let socket_error = |source| BindError::Socket { address, source };
        let socket = bind(address).map_err(socket_error)?;
        let local = socket.local_addr().map_err(socket_error)?;
        Ok(Self {
            socket,
            local,
            places: Places::new(config.places()),
            shared: Arc::new(Shared {
                gate,
                limits: config.limits,
                play_wait: config.play_wait,
                metrics: Arc::default(),
                log: Mutex::new(LogLimit { second: Instant::now(), lines: 0 }),
            }),
            tls: config.tls.map(TlsAcceptor::from),
        })
    }

    /// The address that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Counters of this listener; they outlive it.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.shared.metrics)
    }

    /// Serves until `shutdown`, then finishes every broadcast, closes every connection and waits for every task.
    pub async fn run(self, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "RTMP listener");
                    tokio::time::sleep(ERROR_PAUSE).await;
                    continue;
                }
            };
            match self.places.take(peer.ip()) {
                Ok(seat) => {
                    let (shared, tls, shutdown) =
                        (Arc::clone(&self.shared), self.tls.clone(), shutdown.clone());
                    let (eviction, metrics) = (seat.eviction(), Arc::clone(&shared.metrics));
                    let serving = serve(stream, peer, seat, shared, tls, shutdown);
                    tasks.spawn(async move {
                        tokio::select! {
                            () = serving => {}
                            () = poll_fn(|cx| eviction.poll(cx)) => metrics.turn(Full::Pending),
                        }
                    });
                }
                Err(full) => self.shared.metrics.turn(full),
            }
        }
        drop(self.socket);
        tasks.close();
        tasks.wait().await;
    }
}

/// Counts a connection for as long as it is there, however it ends.
struct Counted(Arc<Metrics>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    seat: Seat,
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
    shutdown: CancellationToken,
) {
    shared.metrics.open();
    let _counted = Counted(Arc::clone(&shared.metrics));
    // Replies are small and waited for.
    stream.set_nodelay(true).ok();
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let deadline = Instant::now() + shared.limits.start;
    let first = tokio::select! {
        biased;
        () = shutdown.cancelled() => return,
        first = tokio::time::timeout_at(deadline.into(), first_byte(&stream)) => first,
    };
    let Ok(Ok(first)) = first else {
        let kind = if first.is_err() { "deadline" } else { "disconnected" };
        shared.metrics.fail(kind);
        return;
    };
    match tls.filter(|_| first == Some(TLS)) {
        None => connection::serve(stream, peer, seat, shared, deadline, shutdown).await,
        Some(acceptor) => {
            let handshake = tokio::time::timeout_at(deadline.into(), acceptor.accept(stream));
            match shutdown.run_until_cancelled(handshake).await {
                Some(Ok(Ok(stream))) => {
                    shared.metrics.encrypted();
                    connection::serve(stream, peer, seat, shared, deadline, shutdown).await;
                }
                Some(Ok(Err(error))) => connection::report(&shared, peer, &End::Io(error)),
                Some(Err(_)) => shared.metrics.fail("deadline"),
                None => {}
            }
        }
    }
}

/// The first byte, which stays in the socket; `None` if the peer left without one.
async fn first_byte(stream: &TcpStream) -> io::Result<Option<u8>> {
    let mut first = [0];
    let read = stream.peek(&mut first).await?;
    Ok((read > 0).then_some(first[0]))
}

/// "Every address" means every IPv4 address where there is no IPv6.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match open(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != io::ErrorKind::AddrInUse => {
            open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        opened => opened,
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Not every system can; a socket for IPv6 alone is better than none.
        socket.set_only_v6(false).ok();
    }
    // Connections of the process before this one may still be closing.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[derive(Debug)]
struct LogLimit {
    second: Instant,
    lines: u32,
}

impl LogLimit {
    fn allows(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            *self = Self { second: now, lines: 0 };
        }
        self.lines += 1;
        self.lines <= LINES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_logged_up_to_a_rate() {
        let start = Instant::now();
        let mut limit = LogLimit { second: start, lines: 0 };
        assert_eq!((0..1000).filter(|_| limit.allows(start)).count(), LINES as usize);
        assert!(limit.allows(start + Duration::from_secs(1)));
    }
}
