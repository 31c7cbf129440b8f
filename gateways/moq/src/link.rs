//! What every stream of a session shares.

use std::sync::Arc;

use moqgate_core::{BroadcastConsumer, LinkStats, OriginConsumer, OriginProducer, Path};
use tokio::sync::watch;

use crate::metrics::Counters;
use crate::transport;
use crate::wire::{Role, SessionCode, Setup, Version};

/// One established session: the transport, what was agreed on it, and the two ends of the origin.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) transport: transport::Session,
    pub(crate) version: Version,
    /// Our hop id.
    pub(crate) hop: u64,
    /// What the peer said of itself; empty before 05.
    pub(crate) peer: Setup,
    /// Where the peer's paths begin.
    pub(crate) root: Path,
    pub(crate) consumer: OriginConsumer,
    pub(crate) producer: OriginProducer,
    pub(crate) counters: Arc<Counters>,
    /// Where the peer asked to reconnect, once it asked to leave; empty is the same place.
    pub(crate) goaway: watch::Sender<Option<String>>,
    /// Whether the peer's word is taken for how many viewers are behind it.
    trusted: bool,
}

impl Link {
    /// The streams' view of a session that was let in.
    pub(crate) fn new(
        transport: transport::Session,
        version: Version,
        hop: u64,
        peer: Setup,
        core: &moqgate_core::Session,
        counters: &Arc<Counters>,
    ) -> Self {
        Self {
            transport,
            version,
            hop,
            peer,
            root: core.grant().root.clone(),
            consumer: core.consumer(),
            producer: core.publisher(),
            counters: counters.clone(),
            goaway: watch::Sender::new(None),
            trusted: core.grant().relay,
        }
    }

    /// How many viewers a subscription of the peer's counts as.
    pub(crate) fn viewers(&self, downstream: u64) -> u64 {
        if self.trusted { downstream } else { 1 }
    }

    /// A path of the peer's as one of the origin's. `None` if it is none: too long, too deep, control characters.
    pub(crate) fn absolute(&self, path: &str) -> Option<Path> {
        self.root.join(&Path::new(path).ok()?).ok()
    }

    /// The broadcast that the peer means, if it is there and the peer may have it. What came from the peer is not
    /// served back to it.
    pub(crate) fn consume(&self, path: &str) -> Option<BroadcastConsumer> {
        let broadcast = self.consumer.consume(&self.absolute(path)?)?;
        let looped = self.peer.hop().is_some_and(|peer| broadcast.route().hops.contains(&peer));
        (!looped).then_some(broadcast)
    }

    /// Whether the peer is told what there is to watch.
    pub(crate) fn peer_watches(&self) -> bool {
        self.peer.role() != Role::Publisher
    }

    /// Whether the peer is asked what it publishes.
    pub(crate) fn peer_publishes(&self) -> bool {
        self.peer.role() != Role::Subscriber
    }
}

/// What the peer did that ends the whole session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) code: SessionCode,
    pub(crate) reason: String,
}

impl Violation {
    /// A breach of the protocol.
    pub(crate) fn protocol(reason: impl Into<String>) -> Self {
        Self { code: SessionCode::PROTOCOL_VIOLATION, reason: reason.into() }
    }
}

/// What QUIC measures of a session, for listings and metrics.
pub(crate) struct QuicStats(pub(crate) transport::Session);

impl LinkStats for QuicStats {
    fn snapshot(&self) -> Vec<(&'static str, f64)> {
        let stats = self.0.stats();
        #[expect(clippy::cast_precision_loss, reason = "a gauge for people; 2^53 is enough of anything here")]
        let float = |value: u64| value as f64;
        vec![
            ("rtt_ms", stats.path.rtt.as_secs_f64() * 1000.0),
            ("cwnd_bytes", float(stats.path.cwnd)),
            ("packets_sent", float(stats.path.sent_packets)),
            ("packets_lost", float(stats.path.lost_packets)),
            ("bytes_lost", float(stats.path.lost_bytes)),
            ("congestion_events", float(stats.path.congestion_events)),
            ("sent_bytes", float(stats.udp_tx.bytes)),
            ("received_bytes", float(stats.udp_rx.bytes)),
        ]
    }
}
