//! What the engine runs on: our tasks, our port, tokio's clock.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;
use webrtc::runtime::{AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime};

use super::socket::Socket;
use crate::port::{Inboxes, Shared};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The surroundings of one peer.
pub(super) struct Surroundings {
    pub(super) inboxes: Arc<Inboxes>,
    pub(super) port: Arc<Shared>,
    pub(super) tasks: TaskTracker,
    /// What the engine has spawned, so that nothing of it outlives its peer.
    pub(super) spawned: Mutex<Vec<AbortHandle>>,
}

impl Surroundings {
    /// Ends what the engine has left running.
    pub(super) fn abort(&self) {
        self.spawned.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(|task| task.abort());
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

struct Task(tokio::task::JoinHandle<()>);

impl JoinHandle for Task {
    fn detach(&self) {}

    fn abort(&self) {
        self.0.abort();
    }

    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

struct Interval(tokio::time::Interval);

impl AsyncInterval for Interval {
    fn tick(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.0.tick().await;
        })
    }
}

fn not_here<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Runtime for Surroundings {
    fn spawn(&self, work: Work) -> Box<dyn JoinHandle> {
        let task = self.tasks.spawn(work);
        let mut spawned = self.spawned.lock().unwrap_or_else(PoisonError::into_inner);
        spawned.retain(|task| !task.is_finished());
        spawned.push(task.abort_handle());
        Box::new(Task(task))
    }

    /// The engine binds a socket; its address becomes a name, and the socket is closed.
    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let name = socket.local_addr()?;
        Ok(Arc::new(Socket { name, inboxes: Arc::clone(&self.inboxes), port: Arc::clone(&self.port) }))
    }

    /// TCP comes in through the port, as datagrams.
    fn wrap_tcp_listener(&self, _: TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        not_here()
    }

    fn connect_tcp<'a>(
        &'a self,
        _: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        Box::pin(async { not_here() })
    }

    fn resolve_host<'a>(
        &'a self,
        _: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async { not_here() })
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        Box::new(Interval(tokio::time::interval(period)))
    }

    /// The engine never asks for this; nothing here may block.
    fn block_on(&self, _: Pin<Box<dyn Future<Output = ()> + '_>>) {}

    fn name(&self) -> &'static str {
        "moqgate"
    }
}
