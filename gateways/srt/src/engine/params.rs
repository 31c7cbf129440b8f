//! What the handshake settled.

use std::time::{Duration, Instant};

use crate::crypto::Crypto;
use crate::wire::Seq;
use crate::wire::packet::MAX_PAYLOAD;

use super::limits;

/// What the handshake settled about one connection. [`Params::new`] fills in what most connections share.
#[derive(Debug)]
pub struct Params {
    /// Our socket id: packets for another one are ignored.
    pub local_id: u32,
    /// The peer's socket id.
    pub peer_id: u32,
    /// First sequence number, the same in both directions.
    pub initial_seq: Seq,
    /// Zero of the timestamps we send; the handshake reply's timestamp counts from here too.
    pub start: Instant,
    /// Arrival of the peer's first handshake packet with extensions (the first conclusion, not a repeated one).
    pub handshake_arrival: Instant,
    /// Timestamp in the header of that packet.
    pub handshake_timestamp: u32,
    /// Negotiated latency of what we receive.
    pub recv_latency: Duration,
    /// Negotiated latency of what we send, kept by the peer.
    pub peer_latency: Duration,
    /// Our receive buffer, packets; clipped to 32 ..= 65 536.
    pub recv_window: u32,
    /// The peer's flow window, packets: bounds what we keep in flight and our send buffer.
    pub flow_window: u32,
    /// Largest payload we may send, bytes: the smaller MSS - 44, 1456 at most.
    pub max_payload: usize,
    /// What the peer announced.
    pub peer_flags: PeerFlags,
    /// Upper limit of what we send, headers included, bytes per second; `None` sends at once.
    pub max_bandwidth: Option<u64>,
    /// The keys, if the connection is encrypted.
    pub crypto: Option<Crypto>,
}

/// The flags of the peer's HSREQ or HSRSP that change what we do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerFlags {
    /// TLPKTDROP: the peer's receiver skips what is too late, so our sender may drop it.
    pub drops_too_late: bool,
    /// NAKREPORT: the peer repeats its NAKs; without it, unacknowledged packets are resent on a timeout.
    pub nak_report: bool,
    /// REXMITFLG: the peer understands the R bit.
    pub marks_retransmissions: bool,
}

impl Default for PeerFlags {
    fn default() -> Self {
        Self { drops_too_late: true, nak_report: true, marks_retransmissions: true }
    }
}

impl Params {
    /// Parameters of a clear connection whose handshake packet, stamped 0, arrived at `now`: latency 120 ms both
    /// ways, windows of 8192 packets, no bandwidth limit.
    pub fn new(local_id: u32, peer_id: u32, initial_seq: Seq, now: Instant) -> Self {
        Self {
            local_id,
            peer_id,
            initial_seq,
            start: now,
            handshake_arrival: now,
            handshake_timestamp: 0,
            recv_latency: Duration::from_millis(120),
            peer_latency: Duration::from_millis(120),
            recv_window: limits::DEFAULT_WINDOW,
            flow_window: limits::DEFAULT_WINDOW,
            max_payload: MAX_PAYLOAD,
            peer_flags: PeerFlags::default(),
            max_bandwidth: None,
            crypto: None,
        }
    }
}
