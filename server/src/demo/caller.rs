//! The least SRT caller that can publish: a handshake (draft-sharabayko-srt section 4.3.1) over the wire format and the engine
//! of the gateway. It is not encrypted and asks once a quarter of a second until it is answered.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqgate_srt::engine::{Connection, Params};
use moqgate_srt::wire::handshake::{CONCLUSION, INDUCTION, MAGIC, VERSION, flags, peer_ip_field};
use moqgate_srt::wire::{Control, ControlBody, Extensions, Handshake, HsExtension, Packet, Seq};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// As libsrt does it.
const REPEAT: Duration = Duration::from_millis(250);
/// Then the listener is not there.
const ATTEMPTS: usize = 12;
/// The largest UDP payload of an Ethernet frame.
const DATAGRAM: usize = 1500;
const MSS: u32 = 1500;
const FLOW_WINDOW: u32 = 8192;
/// As libsrt's: what it is called by peers that look at versions.
const LIBRARY: u32 = 0x01_05_01;
const LATENCY_MS: u16 = 120;
/// Handshake types from here on are refusals.
const REFUSED: i32 = 1000;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The socket.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// Nobody answers.
    #[error("no answer")]
    Silence,
    /// The listener does not want it.
    #[error("refused with code {0}")]
    Refused(i32),
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
    let start = Instant::now();
    // Socket ids and sequence numbers have 30 bits and 31 bits less the largest.
    let (local_id, seq) = (rand::random::<u32>() >> 2 | 1, rand::random::<u32>() >> 2);
    let hello = Handshake {
        version: 4,
        encryption: 0,
        extension: 2,
        initial_seq: seq,
        mss: MSS,
        flow_window: FLOW_WINDOW,
        kind: INDUCTION,
        socket_id: local_id,
        cookie: 0,
        peer_ip: peer_ip_field(listener.ip()),
        extensions: Bytes::new(),
    };
    let (induction, _) = ask(&socket, &hello, start, |answer| answer.extension == MAGIC).await?;
    let extensions = Extensions {
        request: Some(HsExtension {
            version: LIBRARY,
            flags: flags::OURS,
            receive_latency: LATENCY_MS,
            send_latency: LATENCY_MS,
        }),
        stream_id: Some(stream_id.as_bytes().to_vec()),
        ..Extensions::default()
    };
    let conclusion = Handshake {
        version: VERSION,
        extension: extensions.field(),
        kind: CONCLUSION,
        cookie: induction.cookie,
        extensions: extensions.to_bytes(),
        ..hello
    };
    let (answer, timestamp) = ask(&socket, &conclusion, start, |answer| answer.kind == CONCLUSION).await?;
    let arrival = Instant::now();
    let mut params = Params::new(local_id, answer.socket_id, Seq::new(seq), arrival);
    (params.start, params.handshake_timestamp) = (start, timestamp);
    Ok(Call { socket, connection: Connection::new(params, arrival) })
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

/// Sends a handshake until `is_answer` likes one that comes back; returns it with the time stamp of its packet.
async fn ask(
    socket: &UdpSocket,
    handshake: &Handshake,
    start: Instant,
    is_answer: impl Fn(&Handshake) -> bool,
) -> Result<(Handshake, u32), CallError> {
    for _ in 0..ATTEMPTS {
        let body = ControlBody::Handshake(handshake.to_bytes());
        // Time stamps are taken modulo 2^32 microseconds.
        let timestamp = start.elapsed().as_micros() as u32;
        socket.send(&Control { timestamp, destination: 0, body }.to_bytes()).await?;
        let received = async {
            loop {
                match receive(socket).await {
                    Ok(Some((answer, _))) if answer.kind >= REFUSED => {
                        return Err(CallError::Refused(answer.kind));
                    }
                    Ok(Some((answer, timestamp))) if is_answer(&answer) => return Ok((answer, timestamp)),
                    Ok(_) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        };
        if let Ok(outcome) = timeout(REPEAT, received).await {
            return outcome;
        }
    }
    Err(CallError::Silence)
}

/// The next datagram, if it is a handshake.
async fn receive(socket: &UdpSocket) -> io::Result<Option<(Handshake, u32)>> {
    let mut buffer = [0; DATAGRAM];
    let length = socket.recv(&mut buffer).await?;
    let packet = Packet::parse(Bytes::copy_from_slice(&buffer[..length]));
    let Ok(Packet::Control(Control { timestamp, body: ControlBody::Handshake(body), .. })) = packet else {
        return Ok(None);
    };
    Ok(Handshake::parse(body).ok().map(|handshake| (handshake, timestamp)))
}
