//! What is on the tracks: readings of usage in the words of `moq-relay`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use moqgate_core::Path;
use moqgate_core::usage::{GaugeTotals, Snapshot, Totals};
use serde::Serialize;

use super::{ROOT, TIER};

/// How long a broadcast is still shown after its last change.
const LINGER: Duration = Duration::from_secs(300);

/// The readings, and what of them has been said.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// By tier and path.
    rows: BTreeMap<(String, String), Entry>,
    /// By tier.
    sessions: BTreeMap<String, GaugeTotals>,
    /// By track.
    said: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Entry {
    egress: Totals,
    ingress: Totals,
    changed: Instant,
}

/// One broadcast in one direction. Every gauge has two spellings, an older and a newer one.
#[derive(Debug, Serialize)]
struct Traffic {
    announces_started: u64,
    announced: u64,
    announces_ended: u64,
    announced_closed: u64,
    announced_bytes: u64,
    broadcasts_started: u64,
    broadcasts: u64,
    broadcasts_ended: u64,
    broadcasts_closed: u64,
    subscriptions_started: u64,
    subscriptions: u64,
    subscriptions_ended: u64,
    subscriptions_closed: u64,
    fetches: u64,
    bytes: u64,
    frames: u64,
    groups: u64,
    datagrams: u64,
    stale: Stale,
}

/// What was sent too late to be of use: nothing is, what is late is given up.
#[derive(Debug, Default, Serialize)]
struct Stale {
    bytes: u64,
    frames: u64,
    groups: u64,
    datagrams: u64,
}

#[derive(Debug, Serialize)]
struct Sessions {
    sessions_started: u64,
    sessions: u64,
    sessions_ended: u64,
    sessions_closed: u64,
}

impl From<&Totals> for Traffic {
    fn from(totals: &Totals) -> Self {
        Self {
            announces_started: totals.announced.opened,
            announced: totals.announced.opened,
            announces_ended: totals.announced.closed,
            announced_closed: totals.announced.closed,
            announced_bytes: 0,
            broadcasts_started: totals.active.opened,
            broadcasts: totals.active.opened,
            broadcasts_ended: totals.active.closed,
            broadcasts_closed: totals.active.closed,
            subscriptions_started: totals.subscriptions.opened,
            subscriptions: totals.subscriptions.opened,
            subscriptions_ended: totals.subscriptions.closed,
            subscriptions_closed: totals.subscriptions.closed,
            fetches: totals.fetches,
            bytes: totals.bytes,
            frames: totals.frames,
            groups: totals.groups,
            datagrams: totals.datagrams,
            stale: Stale::default(),
        }
    }
}

impl From<&GaugeTotals> for Sessions {
    fn from(gauge: &GaugeTotals) -> Self {
        Self {
            sessions_started: gauge.opened,
            sessions: gauge.opened,
            sessions_ended: gauge.closed,
            sessions_closed: gauge.closed,
        }
    }
}

impl Board {
    /// Takes a reading.
    pub(super) fn look(&mut self, snapshot: &Snapshot, now: Instant) {
        let mut read: BTreeMap<(String, String), (Totals, Totals)> = BTreeMap::new();
        for row in snapshot.usage.iter().filter(|row| !is_own(&row.path)) {
            // The protocols of a broadcast are one here.
            let (egress, ingress) = read.entry((row.tier.to_string(), row.path.to_string())).or_default();
            *egress += row.egress;
            *ingress += row.ingress;
        }
        self.rows.retain(|key, _| read.contains_key(key));
        for (key, (egress, ingress)) in read {
            let entry = self.rows.entry(key).or_insert(Entry {
                egress: Totals::default(),
                ingress: Totals::default(),
                changed: now,
            });
            if entry.egress != egress || entry.ingress != ingress {
                *entry = Entry { egress, ingress, changed: now };
            }
        }
        self.rows.retain(|_, entry| entry.is_live() || now.duration_since(entry.changed) < LINGER);
        self.sessions.clear();
        for row in snapshot.sessions.iter().filter(|row| &*row.tier != TIER) {
            *self.sessions.entry(row.tier.to_string()).or_default() += row.sessions;
        }
    }

    /// The tracks that show something else than before, and what they show.
    pub(super) fn changed(&mut self) -> Vec<(String, String)> {
        let mut shown: BTreeMap<String, String> = BTreeMap::new();
        let mut tiers: Vec<&str> = self.rows.keys().map(|(tier, _)| tier.as_str()).collect();
        tiers.extend(self.sessions.keys().map(String::as_str));
        // The tracks without a tier are there from the start.
        tiers.push("");
        tiers.sort_unstable();
        tiers.dedup();
        for tier in tiers {
            let rows = || self.rows.iter().filter(|((of, _), _)| of == tier);
            let egress: BTreeMap<&str, Traffic> =
                rows().map(|((_, path), entry)| (path.as_str(), (&entry.egress).into())).collect();
            let ingress: BTreeMap<&str, Traffic> =
                rows().map(|((_, path), entry)| (path.as_str(), (&entry.ingress).into())).collect();
            // Sessions are not told apart by their root.
            let sessions: BTreeMap<&str, Sessions> =
                self.sessions.get(tier).map(|gauge| ("", gauge.into())).into_iter().collect();
            shown.insert(track(tier, "publisher.json"), text(&egress));
            shown.insert(track(tier, "subscriber.json"), text(&ingress));
            shown.insert(track(tier, "sessions.json"), text(&sessions));
        }
        let changed = shown.iter().filter(|(name, text)| self.said.get(*name) != Some(*text));
        let changed = changed.map(|(name, text)| (name.clone(), text.clone())).collect();
        self.said = shown;
        changed
    }
}

impl Entry {
    fn is_live(&self) -> bool {
        let live = |totals: &Totals| {
            [totals.announced, totals.active, totals.subscriptions].iter().any(|gauge| gauge.live() > 0)
        };
        live(&self.egress) || live(&self.ingress)
    }
}

/// Whether this is what serves the statistics.
fn is_own(path: &Path) -> bool {
    path.segments().next() == Some(ROOT)
}

fn track(tier: &str, name: &str) -> String {
    if tier.is_empty() { name.to_owned() } else { format!("{tier}/{name}") }
}

fn text<T: Serialize>(reading: &BTreeMap<&str, T>) -> String {
    serde_json::to_string(reading).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use moqgate_core::Protocol;
    use moqgate_core::usage::{Row, SessionTotals};
    use serde_json::Value;

    use super::*;

    fn row(path: &str, tier: &str, protocol: Protocol, frames: u64, live: u64) -> Row {
        let active = GaugeTotals { opened: 2, closed: 2 - live };
        let egress = Totals { frames, bytes: 10 * frames, active, ..Totals::default() };
        let path = Path::new(path).expect("a path");
        let (tier, ingress) = (tier.into(), Totals::default());
        Row { path, tier, protocol, segment: 0, ingress, egress }
    }

    fn snapshot(usage: Vec<Row>) -> Snapshot {
        let sessions = ["", "gold", TIER].map(|tier| SessionTotals {
            tier: tier.into(),
            protocol: Protocol::Srt,
            sessions: GaugeTotals { opened: 3, closed: 1 },
        });
        Snapshot { usage, sessions: sessions.into() }
    }

    fn json(changed: &[(String, String)], track: &str) -> Value {
        let (_, text) = changed.iter().find(|(name, _)| name == track).expect("it changed");
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn rows_are_summed_by_tier_and_path_in_the_words_of_the_relay() {
        let mut board = Board::default();
        let usage = vec![
            row("live/a", "", Protocol::Srt, 5, 1),
            row("live/a", "", Protocol::Moq, 7, 0),
            row("live/a", "gold", Protocol::Moq, 1, 0),
            row(".stats/node/x", "", Protocol::Moq, 99, 1),
        ];
        board.look(&snapshot(usage), Instant::now());
        let changed = board.changed();
        let names: Vec<&str> = changed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "gold/publisher.json",
                "gold/sessions.json",
                "gold/subscriber.json",
                "publisher.json",
                "sessions.json",
                "subscriber.json"
            ]
        );
        let publisher = json(&changed, "publisher.json");
        assert_eq!(publisher.as_object().expect("by path").len(), 1, "{publisher}");
        let a = &publisher["live/a"];
        assert_eq!((a["frames"].as_u64(), a["bytes"].as_u64()), (Some(12), Some(120)));
        assert_eq!((a["broadcasts_started"].as_u64(), a["broadcasts_ended"].as_u64()), (Some(4), Some(3)));
        assert_eq!((a["broadcasts"].as_u64(), a["broadcasts_closed"].as_u64()), (Some(4), Some(3)));
        assert_eq!(a["stale"]["frames"], 0);
        assert_eq!(json(&changed, "gold/publisher.json")["live/a"]["frames"], 1);
        assert_eq!(json(&changed, "sessions.json")[""]["sessions_ended"], 1);
    }

    #[test]
    fn only_what_changed_is_said_and_idle_rows_go() {
        let (mut board, start) = (Board::default(), Instant::now());
        let usage = vec![row("live/a", "", Protocol::Srt, 5, 0), row("live/b", "", Protocol::Srt, 5, 1)];
        board.look(&snapshot(usage.clone()), start);
        assert_eq!(board.changed().len(), 6);
        board.look(&snapshot(usage.clone()), start + LINGER / 2);
        assert_eq!(board.changed(), []);
        board.look(&snapshot(usage), start + LINGER);
        let changed = board.changed();
        assert_eq!(changed.len(), 2, "both directions: {changed:?}");
        let publisher = json(&changed, "publisher.json");
        assert!(publisher.get("live/a").is_none() && publisher.get("live/b").is_some(), "{publisher}");
    }
}
