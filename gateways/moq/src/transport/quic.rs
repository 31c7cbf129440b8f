//! QUIC's own settings.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};

/// ALPN of HTTP/3, which carries WebTransport.
pub(crate) const ALPN_WEBTRANSPORT: &[u8] = b"h3";

/// Streams of each kind that a busy peer may have open: a publisher opens one per group, and drops a group that it has no
/// credit for.
const STREAMS_MAX: u32 = 10_000;
/// The same for a peer that has just come. QUIC keeps state for every stream that it allows, 40 bytes each, so what
/// suits a publisher would cost every viewer 0.8 MB.
const STREAMS_INITIAL: u32 = 256;
/// Bytes in flight toward us over all streams of a connection.
const RECEIVE_WINDOW: u32 = 64 * 1024 * 1024;
/// Bytes in flight toward us on one stream: a large keyframe at once, without the whole window.
const STREAM_WINDOW: u32 = 8 * 1024 * 1024;

/// Kernel buffer of a UDP socket each way: 60 ms at a gigabit a second, where the usual default is 2 ms. The kernel grants
/// less if its own limit is lower.
const SOCKET_BUFFER: usize = 8 * 1024 * 1024;

/// What a connection is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// One of many peers of a listener.
    Accepted,
    /// The one connection that takes every broadcast to a relay.
    Relay,
}

impl Purpose {
    /// How much may lie in QUIC's hands unacknowledged: what is in flight, and as much again twice over so that the
    /// path never idles. What lies there can no longer be dropped for age, so on a slow path it must not be seconds.
    pub(super) fn send_window(self, congestion_window: u64) -> u64 {
        let (min, max) = match self {
            // A keyframe of 5 Mbit/s video at once.
            Self::Accepted => (512 * 1024, 16 * 1024 * 1024),
            // One of each of many broadcasts.
            Self::Relay => (4 * 1024 * 1024, 64 * 1024 * 1024),
        };
        congestion_window.saturating_mul(3).clamp(min, max)
    }

    const fn streams(self) -> u32 {
        match self {
            Self::Accepted => STREAMS_INITIAL,
            Self::Relay => STREAMS_MAX,
        }
    }

    /// A peer that says nothing for this long is gone. A relay that died should be missed for less.
    const fn idle(self) -> Duration {
        match self {
            Self::Accepted => Duration::from_secs(10),
            Self::Relay => Duration::from_secs(5),
        }
    }

    /// Sent often enough that two lost keep-alives do not end a session.
    const fn keep_alive(self) -> Duration {
        match self {
            Self::Accepted => Duration::from_secs(3),
            Self::Relay => Duration::from_millis(1500),
        }
    }
}

pub(crate) fn transport_config(purpose: Purpose) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    let idle = IdleTimeout::try_from(purpose.idle()).expect("seconds fit a varint of milliseconds");
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(purpose.streams()))
        .max_concurrent_uni_streams(VarInt::from_u32(purpose.streams()))
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(purpose.keep_alive()))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(purpose.send_window(0));
    Arc::new(config)
}

/// Lets a peer that publishes open groups without waiting.
pub(super) fn expect_groups(quic: &quinn::Connection) {
    quic.set_max_concurrent_uni_streams(VarInt::from_u32(STREAMS_MAX));
}

/// Lets a peer that asks for much, such as a relay, ask for more.
pub(super) fn expect_requests(quic: &quinn::Connection) {
    quic.set_max_concurrent_bi_streams(VarInt::from_u32(STREAMS_MAX));
}

/// An endpoint on a socket of its own; with `server` it accepts connections.
pub(crate) fn endpoint(address: SocketAddr, server: Option<ServerConfig>) -> io::Result<quinn::Endpoint> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A smaller buffer still works.
    let _smaller = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _smaller = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&address.into())?;
    quinn::Endpoint::new(EndpointConfig::default(), server, UdpSocket::from(socket), Arc::new(TokioRuntime))
}
