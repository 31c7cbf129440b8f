//! QUIC's own settings.

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

/// ALPN of HTTP/3, which carries WebTransport.
pub(crate) const ALPN_WEBTRANSPORT: &[u8] = b"h3";

/// Streams of each kind that a peer may have open: a publisher opens one per group, a viewer two per track.
const STREAMS_MAX: u32 = 10_000;
/// A peer that says nothing for this long is gone.
const IDLE: Duration = Duration::from_secs(10);
/// Sent often enough that two lost keep-alives do not end a session.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// Bytes in flight toward us over all streams of a connection.
const RECEIVE_WINDOW: u32 = 64 * 1024 * 1024;
/// Bytes in flight toward us on one stream: a large keyframe at once, without the whole window.
const STREAM_WINDOW: u32 = 8 * 1024 * 1024;

/// How much may lie in QUIC's hands unacknowledged. What lies there can no longer be dropped for age.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SendWindow {
    /// One viewer: a second of 16 Mbit/s video, or 80 Mbit/s at 200 ms round trip.
    Viewer,
    /// A relay that takes every broadcast through one connection.
    Relay,
}

impl SendWindow {
    const fn bytes(self) -> u64 {
        match self {
            Self::Viewer => 2 * 1024 * 1024,
            Self::Relay => 32 * 1024 * 1024,
        }
    }
}

pub(crate) fn transport_config(window: SendWindow) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS_MAX))
        .max_idle_timeout(Some(IdleTimeout::try_from(IDLE).expect("10 s fits a varint of milliseconds")))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(window.bytes());
    Arc::new(config)
}
