//! One UDP socket, read and written in batches (recvmmsg, GRO).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Asked of the kernel; libsrt's 64 KiB lose packets at the first hiccup. The kernel grants what `net.core.rmem_max`
/// allows.
const RECEIVE_BUFFER: usize = 8 << 20;
/// Answers are small.
const SEND_BUFFER: usize = 1 << 20;
/// Buffers of one receive call.
const BATCH: usize = 16;
/// Largest run of datagrams that the kernel coalesces into one buffer.
const BUFFER: usize = 64 << 10;

/// Where a datagram came from, and which of our addresses it came to (answers leave from there).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) peer: SocketAddr,
    pub(crate) local: Option<IpAddr>,
}

/// The sending half, shared by all connections.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: UdpSocket,
    state: UdpSocketState,
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
        for size in [RECEIVE_BUFFER, RECEIVE_BUFFER / 2, RECEIVE_BUFFER / 4] {
            if socket.set_recv_buffer_size(size).is_ok() {
                break;
            }
        }
        socket.set_send_buffer_size(SEND_BUFFER).ok();
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, state })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Bytes of receive buffer that the kernel granted, and that were asked for.
    pub(crate) fn receive_buffer(&self) -> (usize, usize) {
        (self.state.recv_buffer_size((&self.socket).into()).unwrap_or_default(), RECEIVE_BUFFER)
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
            // A batch with room left has emptied the socket. Saying so here saves the call that would find it empty;
            // what arrives from now on raises a new event.
            if filled < BATCH { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        batch.filled = filled;
        match received {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(filled > 0),
            Err(error) => Err(error),
        }
    }

    /// Sends one datagram. An error means it is gone, as the network might have had it.
    pub(crate) fn send(&self, datagram: &[u8], route: Route) -> io::Result<()> {
        let transmit = Transmit {
            destination: route.peer,
            ecn: None,
            contents: datagram,
            segment_size: None,
            src_ip: route.local,
        };
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

    /// The datagrams of the last receive call, each in memory of its own: one that waits for its turn must not pin
    /// the whole batch, and only the sole holder can be decrypted in place.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (Bytes, Route)> {
        self.memory.chunks_exact(BUFFER).zip(&self.meta[..self.filled]).flat_map(|(memory, meta)| {
            let route = Route { peer: meta.addr, local: meta.dst_ip };
            memory[..meta.len.min(BUFFER)]
                .chunks(meta.stride.max(1))
                .map(move |datagram| (BytesMut::from(datagram).freeze(), route))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn datagrams_keep_their_boundaries_and_their_sender() {
        let wire = Wire::bind("127.0.0.1:0".parse().expect("address")).expect("bind");
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
        let to = wire.local_addr().expect("address");
        let sizes = [64usize, 1332, 1332, 16, 1332];
        for size in sizes {
            peer.send_to(&vec![size as u8; size], to).expect("send");
        }
        let mut batch = Batch::new();
        let mut got = Vec::new();
        while got.len() < sizes.len() {
            wire.readable().await.expect("readable");
            if wire.receive(&mut batch).expect("receive") {
                got.extend(batch.datagrams());
            }
        }
        for (size, (datagram, route)) in sizes.into_iter().zip(&got) {
            assert_eq!(datagram[..], vec![size as u8; size]);
            assert_eq!(route.peer, peer.local_addr().expect("address"));
        }
        wire.send(b"answer", got[0].1).expect("send");
        let mut answer = [0; 16];
        assert_eq!(peer.recv(&mut answer).expect("answer"), 6);
    }
}
