//! The gateway's usage report, as `GET /api/v1/usage` gives it.

use serde::Deserialize;

/// A pair of counters; what is live is their difference.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Gauge {
    /// How many began.
    pub opened: u64,
    /// How many of those ended.
    pub closed: u64,
}

impl Gauge {
    /// How many are live.
    #[must_use]
    pub fn live(self) -> u64 {
        self.opened - self.closed
    }
}

/// One direction of one row.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Counters {
    /// Groups.
    pub groups: u64,
    /// Frames.
    pub frames: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Groups asked for by number.
    pub fetches: u64,
    /// Datagrams among the groups.
    pub datagrams: u64,
    /// Broadcasts listed.
    pub announced: Gauge,
    /// Broadcasts published or watched.
    pub active: Gauge,
    /// Tracks read.
    pub subscriptions: Gauge,
}

/// One row: a path, a tier and a protocol.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    /// The broadcast.
    pub path: String,
    /// The label of the grant.
    pub tier: String,
    /// `moq`, `srt`, `rtmp` or `webrtc`.
    pub protocol: String,
    /// Into the origin.
    pub ingress: Counters,
    /// Out of it.
    pub egress: Counters,
}

/// Sessions of one tier and protocol.
#[derive(Clone, Debug, Deserialize)]
pub struct Sessions {
    /// The label of the grant.
    pub tier: String,
    /// `moq`, `srt`, `rtmp` or `webrtc`.
    pub protocol: String,
    /// The gauge.
    #[serde(flatten)]
    pub gauge: Gauge,
}

/// The whole report.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// The rows.
    pub usage: Vec<Row>,
    /// The sessions.
    #[serde(default)]
    pub sessions: Vec<Sessions>,
}

impl Report {
    /// The row of `path` and `protocol`.
    #[must_use]
    pub fn row(&self, path: &str, protocol: &str) -> Option<&Row> {
        self.usage.iter().find(|row| row.path == path && row.protocol == protocol)
    }

    /// The ingress counters of `path` and `protocol`; zero when there is no such row.
    #[must_use]
    pub fn ingress(&self, path: &str, protocol: &str) -> Counters {
        self.row(path, protocol).map(|row| row.ingress).unwrap_or_default()
    }

    /// The egress counters of `path` and `protocol`; zero when there is no such row.
    #[must_use]
    pub fn egress(&self, path: &str, protocol: &str) -> Counters {
        self.row(path, protocol).map(|row| row.egress).unwrap_or_default()
    }
}
