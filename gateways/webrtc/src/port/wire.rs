//! One UDP socket, read and written in batches (recvmmsg, GRO, GSO).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Asked of the kernel, which grants what `net.core.rmem_max` and `wmem_max` allow. A keyframe for hundreds of viewers
/// leaves in one burst.
const BUFFER_WANTED: usize = 8 << 20;
/// Buffers of one receive call.
const BATCH: usize = 16;
/// Largest run of datagrams that the kernel coalesces into one buffer.
const BUFFER: usize = 64 << 10;

/// The socket, shared by all peers.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: UdpSocket,
    state: UdpSocketState,
    is_dual: bool,
}

/// Reusable memory of the receiving half.
pub(crate) struct Batch {
    memory: Vec<u8>,
    meta: [RecvMeta; BATCH],
    filled: usize,
}

impl Wire {
    /// Binds within a tokio runtime. "Every address" means every IPv4 address where there is no IPv6.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = match open(address) {
            Err(error)
                if address.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != io::ErrorKind::AddrInUse =>
            {
                open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))?
            }
            opened => opened?,
        };
        let state = UdpSocketState::new((&socket).into())?;
        // Linux grants what it may, other systems refuse what they may not.
        for size in [BUFFER_WANTED, BUFFER_WANTED / 4] {
            if socket.set_recv_buffer_size(size).is_ok() && socket.set_send_buffer_size(size).is_ok() {
                break;
            }
        }
        let socket = UdpSocket::from_std(socket.into())?;
        let is_dual = socket.local_addr()?.is_ipv6();
        Ok(Self { socket, state, is_dual })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Most datagrams of equal size that one [`Wire::send`] takes.
    pub(crate) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Waits until there may be something to receive.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Receives what is there, one system call. `false`: nothing was.
    pub(crate) fn receive(&self, batch: &mut Batch) -> io::Result<bool> {
        let mut chunks = batch.memory.chunks_exact_mut(BUFFER);
        let mut slices: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let mut filled = 0;
        let received = self.socket.try_io(Interest::READABLE, || {
            filled = self.state.recv((&self.socket).into(), &mut slices, &mut batch.meta)?;
            // A batch with room left has emptied the socket: what arrives from now on raises a new event.
            if filled < BATCH { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        batch.filled = filled;
        match received {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(filled > 0),
            Err(error) => Err(error),
        }
    }

    /// Sends datagrams of `segment` bytes each (the last may be shorter), or one. An error means they are gone, as the
    /// network might have had them.
    pub(crate) fn send(&self, datagrams: &[u8], segment: Option<usize>, to: SocketAddr) -> io::Result<()> {
        let destination = match to.ip() {
            IpAddr::V4(v4) if self.is_dual => SocketAddr::new(v4.to_ipv6_mapped().into(), to.port()),
            IpAddr::V4(_) | IpAddr::V6(_) => to,
        };
        let transmit =
            Transmit { destination, ecn: None, contents: datagrams, segment_size: segment, src_ip: None };
        self.socket.try_io(Interest::WRITABLE, || self.state.try_send((&self.socket).into(), &transmit))
    }
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Not every system can; a socket for IPv6 alone is better than none.
        socket.set_only_v6(false).ok();
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self { memory: vec![0; BATCH * BUFFER], meta: [RecvMeta::default(); BATCH], filled: 0 }
    }

    /// Whether the last receive call used every buffer, so that there may be more.
    pub(crate) fn is_full(&self) -> bool {
        self.filled == BATCH
    }

    /// The datagrams of the last receive call, with IPv4 peers as such.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        self.memory.chunks_exact(BUFFER).zip(&self.meta[..self.filled]).flat_map(|(memory, meta)| {
            let peer = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
            memory[..meta.len.min(BUFFER)].chunks(meta.stride.max(1)).map(move |datagram| (datagram, peer))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IPv4 peers of a dual-stack socket are named as IPv4 and reached as such.
    #[tokio::test]
    async fn line_65_ipv4_peers_of_a_dual_stack_socket_have_ipv4_addresses() {
        let wire = Wire::bind("[::]:0".parse().expect("address")).expect("bind");
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
        let port = wire.local_addr().expect("address").port();
        peer.send_to(b"hello", ("127.0.0.1", port)).expect("send");
        let mut batch = Batch::new();
        while !wire.receive(&mut batch).expect("receive") {
            wire.readable().await.expect("readable");
        }
        let (datagram, from) = batch.datagrams().next().expect("a datagram");
        assert_eq!((datagram, from), (&b"hello"[..], peer.local_addr().expect("address")));
        wire.send(b"answer", None, from).expect("send");
        let mut answer = [0; 16];
        assert_eq!(peer.recv(&mut answer).expect("answer"), 6);
    }
}
