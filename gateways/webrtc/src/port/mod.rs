//! The port: one UDP socket and one TCP listener of the same number, every peer on them, and who gets what.
//!
//! ```text
//! datagram -> stun::kind -> Table (fragment, then confirmed address) -> Inbox of the peer -> its engine
//! ```

mod inbox;
mod stun;
mod table;
mod tcp;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

pub(crate) use inbox::Inbox;
use stun::Kind;
use table::{PeerId, Table};
use wire::{Batch, Wire};

use crate::metrics::{Ignored, Metrics};

/// Receive calls in a row before other tasks get their turn.
const MAX_BATCHES: usize = 8;
/// After a socket error: long enough not to spin, short enough not to lose a buffer full.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
/// How many pairs of equal UDP and TCP ports are tried when the system picks.
const PAIRS_MAX: usize = 16;

/// The bound port.
pub(crate) struct Port {
    shared: Arc<Shared>,
    tcp: TcpListener,
    local: SocketAddr,
}

/// What the port's tasks and the peers share.
#[derive(Debug)]
pub(crate) struct Shared {
    wire: Wire,
    table: Mutex<Table<Arc<Inbox>>>,
    connections: tcp::Connections,
    metrics: Arc<Metrics>,
}

/// A peer's place on the port; dropping it frees its fragments and addresses.
#[derive(Debug)]
pub(crate) struct Berth {
    shared: Arc<Shared>,
    id: PeerId,
    inbox: Arc<Inbox>,
}

impl Port {
    /// Takes the address on UDP and on TCP. Must be called within a tokio runtime.
    pub(crate) fn bind(address: SocketAddr, metrics: Arc<Metrics>) -> io::Result<Self> {
        let mut tried = 1;
        loop {
            let wire = Wire::bind(address)?;
            let local = wire.local_addr()?;
            match bind_tcp(local) {
                Ok(tcp) => {
                    let shared = Shared {
                        wire,
                        table: Mutex::default(),
                        connections: tcp::Connections::default(),
                        metrics,
                    };
                    return Ok(Self { shared: Arc::new(shared), tcp, local });
                }
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse
                        && address.port() == 0
                        && tried < PAIRS_MAX =>
                {
                    tried += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Receives until `stop`.
    pub(crate) async fn run(self, tasks: &TaskTracker, stop: CancellationToken) {
        tasks.spawn(tcp::serve(self.tcp, Arc::clone(&self.shared), tasks.clone(), stop.clone()));
        let mut batch = Batch::new();
        loop {
            let ready = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                ready = self.shared.wire.readable() => ready,
            };
            if let Err(error) = ready.and_then(|()| self.shared.receive(&mut batch)) {
                warn!(%error, "WebRTC port");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

impl Shared {
    fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        for _ in 0..MAX_BATCHES {
            if !self.wire.receive(batch)? {
                break;
            }
            for (datagram, from) in batch.datagrams() {
                self.arrived(datagram, from);
            }
            if !batch.is_full() {
                break;
            }
        }
        Ok(())
    }

    /// Hands a datagram to its peer. Whether it has one.
    fn arrived(&self, datagram: &[u8], from: SocketAddr) -> bool {
        let kind = stun::kind(datagram);
        let inbox = self.lock().route(kind, from, Instant::now()).cloned();
        let Some(inbox) = inbox else {
            self.metrics.ignore(match kind {
                Kind::Check(_) => Ignored::Fragment,
                Kind::Stun | Kind::Media => Ignored::Address,
                Kind::Noise => Ignored::Noise,
            });
            return false;
        };
        self.metrics.received(datagram.len());
        // Memory of its own: one that waits for its turn must not pin a batch.
        if inbox.push(BytesMut::from(datagram), from) {
            self.metrics.ignore(Ignored::Overflow);
        }
        true
    }

    /// Sends datagrams of `segment` bytes each, or one. What the socket does not take is lost, as on any network.
    pub(crate) fn send(&self, datagrams: &[u8], segment: Option<usize>, to: SocketAddr) {
        self.metrics.sent(datagrams.len());
        let sent = match segment {
            Some(size) if size > 0 && size < datagrams.len() => {
                let over_tcp: Option<bool> = datagrams
                    .chunks(size)
                    .map(|datagram| self.connections.send(datagram, to))
                    .try_fold(true, |all, one| one.map(|one| all && one));
                over_tcp.unwrap_or_else(|| self.wire.send(datagrams, segment, to).is_ok())
            }
            _ => self
                .connections
                .send(datagrams, to)
                .unwrap_or_else(|| self.wire.send(datagrams, None, to).is_ok()),
        };
        if !sent {
            self.metrics.unsent();
        }
    }

    /// Most datagrams of equal size that one [`Shared::send`] takes.
    pub(crate) fn max_segments(&self) -> usize {
        self.wire.max_segments()
    }

    /// Takes a place for a peer, which [`Berth::rename`] gives a name.
    pub(crate) fn berth(self: &Arc<Self>) -> Berth {
        let inbox = Arc::<Inbox>::default();
        let id = self.lock().insert(Arc::clone(&inbox));
        Berth { shared: Arc::clone(self), id, inbox }
    }

    fn lock(&self) -> MutexGuard<'_, Table<Arc<Inbox>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Berth {
    /// The peer is called by `fragment` from now on, and for a while still by the one before.
    pub(crate) fn rename(&self, fragment: &str) {
        self.shared.lock().rename(self.id, fragment);
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    pub(crate) fn port(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        self.shared.lock().remove(self.id);
    }
}
