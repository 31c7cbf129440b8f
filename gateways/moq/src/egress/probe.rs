//! PROBE: what the path to the peer can carry.

use std::time::{Duration, Instant};

use crate::link::Link;
use crate::transport::{Reader, SendStream};
use crate::wire::{Message as _, Probe};

/// How often the path is looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// A report is repeated after this long even if nothing changed.
const REPEAT: Duration = Duration::from_secs(10);

/// Reports at once, then whenever the bitrate moved by a quarter or a report is 10 s old, until the peer has enough.
pub(crate) async fn serve(link: &Link, mut reply: SendStream, mut request: Reader) {
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut sent: Option<(Probe, Instant)> = None;
    loop {
        tokio::select! {
            biased;
            _over = request.end() => return reply.finish(),
            _ = ticks.tick() => {}
        }
        let (report, now) = (measure(link), Instant::now());
        if sent.is_some_and(|(last, at)| !is_news(last, report) && now.duration_since(at) < REPEAT) {
            continue;
        }
        if reply.write(report.to_bytes(link.version)).await.is_err() {
            return;
        }
        sent = Some((report, now));
    }
}

/// The rate at which a full congestion window leaves.
fn measure(link: &Link) -> Probe {
    let path = link.transport.stats().path;
    let micros = u64::try_from(path.rtt.as_micros()).unwrap_or(u64::MAX).max(1);
    let bitrate = path.cwnd.saturating_mul(8_000_000) / micros;
    Probe { bitrate: bitrate.max(1), rtt_ms: (micros / 1000).max(1) }
}

fn is_news(last: Probe, now: Probe) -> bool {
    last.bitrate.abs_diff(now.bitrate) > last.bitrate / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_news() {
        let last = Probe { bitrate: 1000, rtt_ms: 1 };
        assert!(!is_news(last, Probe { bitrate: 1250, rtt_ms: 9 }));
        assert!(is_news(last, Probe { bitrate: 1251, rtt_ms: 1 }));
        assert!(is_news(last, Probe { bitrate: 700, rtt_ms: 1 }));
    }
}
