//! What the listener counts about itself. Operations, never billing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use moqgate_core::{DenyReason, Refusals, Sample};

/// Why a datagram or a connection was of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// A check for nobody here, or from an address that is somebody else's.
    Fragment,
    /// From an address that no check has confirmed.
    Address,
    /// Neither STUN nor DTLS nor SRTP.
    Noise,
    /// Its peer did not keep up; an older one went.
    Overflow,
    /// Too many TCP connections.
    TcpFull,
}

impl Ignored {
    /// Every reason, in the order of their counters.
    pub const ALL: [Self; 5] = [Self::Fragment, Self::Address, Self::Noise, Self::Overflow, Self::TcpFull];

    /// Metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fragment => "fragment",
            Self::Address => "address",
            Self::Noise => "noise",
            Self::Overflow => "overflow",
            Self::TcpFull => "tcp_full",
        }
    }
}

/// RTCP that says something about the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feedback {
    /// Packets were asked for again.
    Nack,
    /// A keyframe was asked for (PLI).
    Pli,
    /// A keyframe was asked for (FIR).
    Fir,
}

impl Feedback {
    /// Every kind, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Nack, Self::Pli, Self::Fir];

    /// Metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nack => "nack",
            Self::Pli => "pli",
            Self::Fir => "fir",
        }
    }
}

/// Counters of one listener. They only grow.
#[derive(Debug, Default)]
pub struct Metrics {
    opened: [AtomicU64; 2],
    closed: [AtomicU64; 2],
    connected: AtomicU64,
    unconnected: AtomicU64,
    packets_received: AtomicU64,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    unsent: AtomicU64,
    rtp_received: AtomicU64,
    rtp_sent: AtomicU64,
    rtp_resent: AtomicU64,
    feedback_received: [AtomicU64; Feedback::ALL.len()],
    feedback_sent: [AtomicU64; Feedback::ALL.len()],
    transcodes: AtomicU64,
    skipped: AtomicU64,
    switched: AtomicU64,
    ignored: [AtomicU64; Ignored::ALL.len()],
    refused: Refusals,
}

/// What a session is for, as an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The peer publishes.
    Whip,
    /// The peer watches.
    Whep,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Whip, Self::Whep];

    /// Metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whip => "whip",
            Self::Whep => "whep",
        }
    }
}

impl Metrics {
    pub(crate) fn open(&self, kind: Kind) {
        self.opened[kind as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn close(&self, kind: Kind) {
        self.closed[kind as usize].fetch_add(1, Relaxed);
    }

    /// A session's transport is up, or its time is over without.
    pub(crate) fn connect(&self, connected: bool) {
        if connected { &self.connected } else { &self.unconnected }.fetch_add(1, Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.packets_received.fetch_add(1, Relaxed);
        self.bytes_received.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes_sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn unsent(&self) {
        self.unsent.fetch_add(1, Relaxed);
    }

    pub(crate) fn rtp_received(&self) {
        self.rtp_received.fetch_add(1, Relaxed);
    }

    pub(crate) fn rtp_sent(&self, again: bool) {
        if again { &self.rtp_resent } else { &self.rtp_sent }.fetch_add(1, Relaxed);
    }

    pub(crate) fn feedback(&self, feedback: Feedback, received: bool) {
        let counters = if received { &self.feedback_received } else { &self.feedback_sent };
        counters[feedback as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn transcode(&self) {
        self.transcodes.fetch_add(1, Relaxed);
    }

    /// A player goes on with a newer group.
    pub(crate) fn skip(&self) {
        self.skipped.fetch_add(1, Relaxed);
    }

    /// A player is sent another rendition.
    pub(crate) fn switch(&self) {
        self.switched.fetch_add(1, Relaxed);
    }

    pub(crate) fn ignore(&self, ignored: Ignored) {
        self.ignored[ignored as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn refuse(&self, reason: DenyReason) {
        self.refused.count(reason);
    }

    /// Sessions of that kind that are open. Reads `closed` first, so that it is never negative.
    pub fn live(&self, kind: Kind) -> u64 {
        let closed = self.closed[kind as usize].load(Relaxed);
        self.opened[kind as usize].load(Relaxed).saturating_sub(closed)
    }

    /// Datagrams and connections that were of no use.
    pub fn ignored(&self, ignored: Ignored) -> u64 {
        self.ignored[ignored as usize].load(Relaxed)
    }

    /// Everything, for a report.
    pub fn samples(&self) -> Vec<Sample> {
        let plain = |name, help, value| Sample { name, help, label: None, value };
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        let mut samples = vec![
            plain(
                "moqgate_webrtc_connected_total",
                "Sessions whose transport came up.",
                load(&self.connected),
            ),
            plain(
                "moqgate_webrtc_unconnected_total",
                "Sessions given up because their transport never came up.",
                load(&self.unconnected),
            ),
            plain(
                "moqgate_webrtc_packets_total",
                "Datagrams received for a session.",
                load(&self.packets_received),
            ),
            plain("moqgate_webrtc_bytes_total", "Bytes received for a session.", load(&self.bytes_received)),
            plain("moqgate_webrtc_bytes_sent_total", "Bytes sent.", load(&self.bytes_sent)),
            plain("moqgate_webrtc_unsent_total", "Sends that the socket did not take.", load(&self.unsent)),
            plain("moqgate_webrtc_rtp_total", "Media packets received.", load(&self.rtp_received)),
            plain("moqgate_webrtc_rtp_sent_total", "Media packets sent.", load(&self.rtp_sent)),
            plain("moqgate_webrtc_transcodes_total", "Audio transcodes begun.", load(&self.transcodes)),
            plain("moqgate_webrtc_rtp_resent_total", "Media packets sent again.", load(&self.rtp_resent)),
            plain(
                "moqgate_webrtc_skipped_total",
                "Times that a player was too far behind and went on with a newer group.",
                load(&self.skipped),
            ),
            plain(
                "moqgate_webrtc_switched_total",
                "Times that a player's link made another rendition fit better.",
                load(&self.switched),
            ),
        ];
        let labelled = |name, help, label: &'static str, value: &'static str, count| Sample {
            name,
            help,
            label: Some((label, value)),
            value: count,
        };
        samples.extend(Kind::ALL.map(|kind| {
            labelled("moqgate_webrtc_sessions", "Open sessions.", "kind", kind.as_str(), self.live(kind))
        }));
        samples.extend(Kind::ALL.map(|kind| {
            let opened = load(&self.opened[kind as usize]);
            labelled("moqgate_webrtc_sessions_total", "Sessions opened.", "kind", kind.as_str(), opened)
        }));
        for (name, help, counters) in [
            ("moqgate_webrtc_feedback_total", "RTCP feedback received.", &self.feedback_received),
            ("moqgate_webrtc_feedback_sent_total", "RTCP feedback sent.", &self.feedback_sent),
        ] {
            samples.extend(
                Feedback::ALL
                    .map(|kind| labelled(name, help, "kind", kind.as_str(), load(&counters[kind as usize]))),
            );
        }
        samples.extend(Ignored::ALL.map(|reason| {
            let help = "Datagrams and connections that were of no use, by reason.";
            labelled("moqgate_webrtc_ignored_total", help, "reason", reason.as_str(), self.ignored(reason))
        }));
        samples.extend(self.refused.samples("moqgate_webrtc_refused_total"));
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        let metrics = Metrics::default();
        Ignored::ALL.iter().for_each(|reason| metrics.ignore(*reason));
        DenyReason::ALL.iter().for_each(|reason| metrics.refuse(*reason));
        for kind in Feedback::ALL {
            metrics.feedback(kind, true);
            metrics.feedback(kind, false);
        }
        Kind::ALL.iter().for_each(|kind| metrics.open(*kind));
        let samples = metrics.samples();
        let labelled: Vec<_> = samples.iter().filter(|sample| sample.label.is_some()).collect();
        assert_eq!(labelled.len(), 5 + 7 + 6 + 4);
        assert!(labelled.iter().all(|sample| sample.value == 1), "{labelled:?}");
    }
}
