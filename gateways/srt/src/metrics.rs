//! What the listener counts about itself. Operations, never billing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use moqgate_core::Sample;

use crate::reject::Reject;

/// Why a datagram had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// Shorter than a header, or no packet.
    Malformed,
    /// A handshake with impossible fields, or of a kind that a listener does not take.
    Handshake,
    /// A handshake with a cookie that was not issued to its address.
    Cookie,
    /// A repeated handshake whose first copy is being decided.
    Waiting,
    /// To a socket id that no connection has.
    Unknown,
    /// To a connection's socket id, from another address than the connection's.
    WrongAddress,
}

impl Ignored {
    /// Every reason, in the order of their counters.
    pub const ALL: [Self; 6] =
        [Self::Malformed, Self::Handshake, Self::Cookie, Self::Waiting, Self::Unknown, Self::WrongAddress];

    /// Metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Handshake => "handshake",
            Self::Cookie => "cookie",
            Self::Waiting => "waiting",
            Self::Unknown => "unknown_destination",
            Self::WrongAddress => "wrong_address",
        }
    }
}

/// Counters of one listener, shared with whoever reports them.
#[derive(Debug)]
pub struct Metrics {
    local: SocketAddr,
    ignored: [AtomicU64; Ignored::ALL.len()],
    refused: [AtomicU64; Reject::ALL.len()],
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) replies: AtomicU64,
    pub(crate) datagrams: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) send_failed: AtomicU64,
    pub(crate) queue_dropped: AtomicU64,
    pub(crate) waiting: AtomicU64,
}

impl Metrics {
    pub(crate) fn new(local: SocketAddr) -> Self {
        Self {
            local,
            ignored: Default::default(),
            refused: Default::default(),
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            replies: AtomicU64::new(0),
            datagrams: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            send_failed: AtomicU64::new(0),
            queue_dropped: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
        }
    }

    pub(crate) fn ignore(&self, reason: Ignored) {
        self.ignored[reason as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn refuse(&self, reject: Reject) {
        self.refused[reject.index()].fetch_add(1, Relaxed);
    }

    /// Datagrams ignored for `reason`.
    pub fn ignored(&self, reason: Ignored) -> u64 {
        self.ignored[reason as usize].load(Relaxed)
    }

    /// Callers refused for `reject`.
    pub fn refused(&self, reject: Reject) -> u64 {
        self.refused[reject.index()].load(Relaxed)
    }

    /// Connections that were opened.
    pub fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// Connections that are open. Reads `closed` first, so that it is never negative.
    pub fn live(&self) -> u64 {
        let closed = self.closed.load(Relaxed);
        self.opened.load(Relaxed).saturating_sub(closed)
    }

    /// Handshakes that wait for a decision, refused ones that are still remembered included.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// Everything, for a report.
    pub fn samples(&self) -> Vec<Sample> {
        let plain = |name, help, value| Sample { name, help, label: None, value };
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        let mut samples = vec![
            plain("moqgate_srt_connections", "Open SRT connections.", self.live()),
            plain("moqgate_srt_connections_total", "SRT connections opened.", load(&self.opened)),
            plain("moqgate_srt_handshakes_waiting", "Handshakes in the table.", self.waiting()),
            plain(
                "moqgate_srt_handshake_replies_total",
                "Handshakes answered without a decision.",
                load(&self.replies),
            ),
            plain("moqgate_srt_datagrams_total", "Datagrams received.", load(&self.datagrams)),
            plain("moqgate_srt_bytes_total", "UDP payload bytes received.", load(&self.bytes)),
            plain("moqgate_srt_datagrams_sent_total", "Datagrams sent.", load(&self.sent)),
            plain("moqgate_srt_send_failed_total", "Datagrams not sent.", load(&self.send_failed)),
            plain(
                "moqgate_srt_queue_dropped_total",
                "Payloads dropped before the importer.",
                load(&self.queue_dropped),
            ),
        ];
        if let Some(dropped) = kernel_drops(self.local.port()) {
            samples.push(plain("moqgate_srt_kernel_dropped_total", "Datagrams the kernel dropped.", dropped));
        }
        samples.extend(Ignored::ALL.map(|reason| Sample {
            name: "moqgate_srt_ignored_total",
            help: "Datagrams without effect, by reason.",
            label: Some(("reason", reason.as_str())),
            value: self.ignored(reason),
        }));
        samples.extend(Reject::ALL.map(|reject| Sample {
            name: "moqgate_srt_refused_total",
            help: "Callers refused, by reason.",
            label: Some(("reason", reject.as_str())),
            value: self.refused(reject),
        }));
        samples
    }
}

/// Receive buffer overruns of the UDP sockets on `port`, from Linux's socket tables; `None` elsewhere.
fn kernel_drops(port: u16) -> Option<u64> {
    let tables = ["/proc/net/udp", "/proc/net/udp6"].map(|table| std::fs::read_to_string(table).ok());
    tables.iter().flatten().filter_map(|table| drops_in(table, port)).reduce(|a, b| a + b)
}

fn drops_in(table: &str, port: u16) -> Option<u64> {
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter(|line| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&suffix)))
        .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
        .reduce(|a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_their_own_counters() {
        let metrics = Metrics::new("127.0.0.1:9".parse().expect("address"));
        for reason in Ignored::ALL {
            metrics.ignore(reason);
            assert_eq!(metrics.ignored(reason), 1);
        }
        for reject in Reject::ALL {
            metrics.refuse(reject);
            assert_eq!(metrics.refused(reject), 1);
        }
        let names: Vec<_> = metrics.samples().iter().map(|s| (s.name, s.label)).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
    }

    #[test]
    fn drops_are_read_from_the_last_column() {
        let table = "  sl  local_address rem_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode ref pointer drops\n\
                     95: 0100007F:2328 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 12 2 0000 17\n\
                     96: 0100007F:2329 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 13 2 0000 4\n";
        assert_eq!(drops_in(table, 9000), Some(17));
        assert_eq!(drops_in(table, 1), None);
    }
}
