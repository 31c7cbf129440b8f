//! The meter's numbers as metrics.

use std::collections::BTreeMap;

use moqgate_core::usage::{Snapshot, Totals};

use super::text::{Kind, Labels, Page};
use crate::ledger::{Sides, Sums};

type Read = fn(&Totals) -> u64;

/// What is written of each side: the end of the name, what it says, and where it stands.
const COUNTERS: [(&str, &str, Read); 11] = [
    ("groups_total", "Groups of payload, as billed.", |t| t.groups),
    ("frames_total", "Frames of payload, as billed.", |t| t.frames),
    ("bytes_total", "Bytes of payload, as billed; not what was on the wire.", |t| t.bytes),
    ("fetches_total", "Fetches that were answered with a group.", |t| t.fetches),
    ("datagrams_total", "Groups that moved as a datagram.", |t| t.datagrams),
    ("announced_opened_total", "Broadcasts that were announced.", |t| t.announced.opened),
    ("announced_closed_total", "Broadcasts that were announced and have gone.", |t| t.announced.closed),
    ("active_opened_total", "Publishers (ingress) and viewers (egress) that came.", |t| t.active.opened),
    ("active_closed_total", "Publishers (ingress) and viewers (egress) that left.", |t| t.active.closed),
    ("subscriptions_opened_total", "Live tracks (ingress) and readers of a track (egress) that came.", |t| {
        t.subscriptions.opened
    }),
    ("subscriptions_closed_total", "Live tracks (ingress) and readers of a track (egress) that left.", |t| {
        t.subscriptions.closed
    }),
];

/// Tier, protocol, and the path where it was asked for.
type Key = (String, &'static str, Option<String>);

/// Writes the usage of all rows, those that have been dropped included, so that no sum ever falls.
pub(super) fn write(page: &mut Page, snapshot: &Snapshot, dropped: &Sums, per_broadcast: bool) {
    let mut sums: BTreeMap<Key, Sides> = BTreeMap::new();
    for row in &snapshot.usage {
        let path = per_broadcast.then(|| row.path.to_string());
        sums.entry((row.tier.to_string(), row.protocol.as_str(), path)).or_default().add(row);
    }
    // With a series per broadcast, the series of a dropped row has ended.
    for ((tier, protocol), sides) in dropped.iter().filter(|_| !per_broadcast) {
        let sum = sums.entry((tier.to_string(), protocol.as_str(), None)).or_default();
        sum.ingress += sides.ingress;
        sum.egress += sides.egress;
    }
    let labelled = |read: fn(&Sides) -> &Totals| -> Vec<(Labels, Totals)> {
        sums.iter().map(|(key, sum)| (labels(key), *read(sum))).collect()
    };
    for (side, rows) in [("ingress", labelled(|sum| &sum.ingress)), ("egress", labelled(|sum| &sum.egress))] {
        for (name, help, read) in COUNTERS {
            let samples = rows.iter().map(|(labels, totals)| (labels.clone(), read(totals)));
            page.family(&format!("moqgate_{side}_{name}"), help, Kind::Counter, samples);
        }
    }
}

fn labels((tier, protocol, path): &Key) -> Labels {
    let labels = Labels::default().with("tier", tier).with("protocol", protocol);
    match path {
        Some(path) => labels.with("broadcast", path),
        None => labels,
    }
}

/// Writes how many sessions came and went.
pub(super) fn write_sessions(page: &mut Page, snapshot: &Snapshot) {
    let rows = || {
        snapshot.sessions.iter().map(|row| {
            let labels = Labels::default().with("tier", &row.tier).with("protocol", row.protocol.as_str());
            (labels, row.sessions)
        })
    };
    let opened = rows().map(|(labels, sessions)| (labels, sessions.opened));
    page.family("moqgate_sessions_opened_total", "Sessions that were authorised.", Kind::Counter, opened);
    let closed = rows().map(|(labels, sessions)| (labels, sessions.closed));
    page.family("moqgate_sessions_closed_total", "Sessions that have ended.", Kind::Counter, closed);
}
