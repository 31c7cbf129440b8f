//! ICE over TCP (RFC 6544, RFC 4571): the way in for networks that let no UDP out.
//!
//! A connection is a datagram path of its own: frames of at most 64 KiB, each behind its length. What arrives goes
//! through the same table as UDP, and what is sent to the connection's address goes back over it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::Shared;
use crate::metrics::Ignored;

/// Most connections at once; each is known to belong to a session after its first frame, or closed.
const CONNECTIONS_MAX: usize = 1024;
/// A client sends its first check at once.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// A session's checks come every few seconds.
const IDLE: Duration = Duration::from_secs(30);
/// Frames that may wait for a connection: 0.3 s of 5 Mbit/s. What does not fit is lost, as it would be over UDP.
const QUEUE: usize = 128;
/// After an error, as when there are no more file handles.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Live connections by the peer's address.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    queues: Mutex<HashMap<SocketAddr, mpsc::Sender<Bytes>>>,
    /// How many there are: where there is none, no datagram takes the lock.
    count: AtomicUsize,
}

impl Connections {
    /// Sends a datagram if `to` is connected. `None`: it is not, and UDP is the way.
    pub(crate) fn send(&self, datagram: &[u8], to: SocketAddr) -> Option<bool> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let connections = self.lock();
        let queue = connections.get(&to)?;
        let mut frame = BytesMut::with_capacity(2 + datagram.len());
        frame.extend_from_slice(&u16::try_from(datagram.len()).ok()?.to_be_bytes());
        frame.extend_from_slice(datagram);
        Some(queue.try_send(frame.freeze()).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, mpsc::Sender<Bytes>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a connection out of the table when its task ends, however it ends.
struct Entry {
    shared: Arc<Shared>,
    peer: SocketAddr,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut connections = self.shared.connections.lock();
        connections.remove(&self.peer);
        self.shared.connections.count.store(connections.len(), Relaxed);
    }
}

/// Accepts until `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "WebRTC TCP listener");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let (queue, frames) = mpsc::channel(QUEUE);
        {
            let mut connections = shared.connections.lock();
            if connections.len() >= CONNECTIONS_MAX {
                shared.metrics.ignore(Ignored::TcpFull);
                continue;
            }
            connections.insert(peer, queue);
            shared.connections.count.store(connections.len(), Relaxed);
        }
        let entry = Entry { shared: Arc::clone(&shared), peer };
        let connection = connection(stream, entry, frames);
        let stop = stop.clone();
        tasks.spawn(async move {
            // The end of a connection is no news: its session knows from ICE.
            stop.run_until_cancelled(connection).await.and_then(Result::err);
        });
    }
}

async fn connection(stream: TcpStream, entry: Entry, mut frames: mpsc::Receiver<Bytes>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.into_split();
    let reading = receive(read, &entry);
    let writing = async {
        while let Some(frame) = frames.recv().await {
            write.write_all(&frame).await?;
        }
        io::Result::Ok(())
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}

async fn receive(read: OwnedReadHalf, entry: &Entry) -> io::Result<()> {
    let mut read = BufReader::new(read);
    let mut limit = FIRST_FRAME;
    loop {
        let frame = tokio::time::timeout(limit, frame(&mut read)).await??;
        let known = entry.shared.arrived(&frame, entry.peer);
        if !known && limit == FIRST_FRAME {
            return Ok(());
        }
        limit = IDLE;
    }
}

async fn frame(read: &mut BufReader<OwnedReadHalf>) -> io::Result<Vec<u8>> {
    let length = read.read_u16().await?;
    let mut frame = vec![0; usize::from(length)];
    read.read_exact(&mut frame).await?;
    Ok(frame)
}
