//! Calls the SRT port of this program as an encoder would: not encrypted, and not admitted by any shortcut.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use moqgate_srt::call::{self, Calling, Offer};
use moqgate_srt::engine::Connection;
use tokio::net::UdpSocket;
use tokio::time::timeout_at;

/// The largest UDP payload of an Ethernet frame.
const DATAGRAM: usize = 1500;
const FLOW_WINDOW: u32 = 8192;
const LATENCY_MS: u16 = 120;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The socket.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// Nobody answers, or the listener does not want it.
    #[error("{0}")]
    Call(#[from] call::CallError),
}

/// A connection, and the socket that it must be moved over.
pub(super) struct Call {
    /// Connected to the listener.
    pub(super) socket: UdpSocket,
    /// The engine.
    pub(super) connection: Connection,
}

/// Calls `listener` and publishes under `stream_id`.
pub(super) async fn call(listener: SocketAddr, stream_id: &str) -> Result<Call, CallError> {
    let socket = UdpSocket::bind((unspecified(listener), 0)).await?;
    socket.connect(listener).await?;
    // Socket ids and sequence numbers have 30 bits and 31 bits less the largest.
    let (local_id, initial_seq) = (rand::random::<u32>() >> 2 | 1, rand::random::<u32>() >> 2);
    let offer = Offer {
        remote: listener,
        stream_id: stream_id.to_owned(),
        latency: LATENCY_MS,
        flow_window: FLOW_WINDOW,
        local_id,
        initial_seq,
    };
    let mut calling = Calling::new(offer, None, Instant::now());
    let mut buffer = [0; DATAGRAM];
    loop {
        let now = Instant::now();
        calling.check(now)?;
        if let Some(datagram) = calling.poll_transmit(now) {
            socket.send(&datagram).await?;
        }
        let answer = timeout_at(calling.poll_timeout().into(), socket.recv(&mut buffer)).await;
        let Ok(length) = answer else { continue };
        let now = Instant::now();
        if let Some(called) = calling.handle(Bytes::copy_from_slice(&buffer[..length?]), now)? {
            let params = called.terms.params(local_id, called.start);
            return Ok(Call { socket, connection: Connection::new(params, now) });
        }
    }
}

/// The way to `listener` from the same machine: an address of every interface is reached by the loopback.
pub(super) fn near(listener: SocketAddr) -> SocketAddr {
    let ip = match listener {
        _ if !listener.ip().is_unspecified() => listener.ip(),
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listener.port())
}

fn unspecified(like: SocketAddr) -> IpAddr {
    match like {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
