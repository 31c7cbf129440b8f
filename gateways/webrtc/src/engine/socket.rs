//! The socket that an engine believes to have: what it sends leaves through the shared port, what it receives is what
//! the port found to be for it.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

use crate::port::{Found, Inbox, Inboxes, Shared};

/// One address family of one peer.
pub(super) struct Socket {
    /// What the engine knows the socket by. Nothing is bound to it.
    pub(super) name: SocketAddr,
    pub(super) inboxes: Arc<Inboxes>,
    pub(super) port: Arc<Shared>,
}

impl Socket {
    fn inbox(&self) -> &Inbox {
        match self.name.ip() {
            IpAddr::V4(_) => &self.inboxes.v4,
            IpAddr::V6(_) => &self.inboxes.v6,
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("name", &self.name).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for Socket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.name)
    }

    fn poll_send(&self, _: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.port.send(transmit.contents, transmit.segment_size, transmit.destination);
        Poll::Ready(Ok(transmit.contents.len()))
    }

    /// One datagram, or one of zero bytes, which makes the engine look for what is to be sent.
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        let found = std::task::ready!(self.inbox().poll(cx));
        *meta = RecvMeta::default();
        meta.stride = 1;
        if let Found::Datagram(datagram, from) = found {
            let len = datagram.len().min(buffer.len());
            buffer[..len].copy_from_slice(&datagram[..len]);
            (meta.len, meta.stride, meta.addr) = (len, len.max(1), from);
        }
        Poll::Ready(Ok(1))
    }

    fn max_gso_segments(&self) -> usize {
        self.port.max_segments()
    }
}
