//! What this process answers for after the meter has let go of it: rows that have been idle for long are dropped from memory,
//! each with a last line in the log, and stay in the sums.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moqgate_core::usage::{Row, Snapshot, Totals};
use moqgate_core::{Origin, Protocol};
use tracing::info;

/// Long enough for an encoder's break, short enough that a machine which sees a new path a minute keeps some thousand rows.
pub(crate) const ROW_IDLE_MAX: Duration = Duration::from_secs(3600);

/// Sums by tier and protocol.
pub(crate) type Sums = BTreeMap<(Arc<str>, Protocol), Sides>;

/// Both sides of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sides {
    /// Into the origin.
    pub(crate) ingress: Totals,
    /// Out of the origin.
    pub(crate) egress: Totals,
}

impl Sides {
    /// Adds one row.
    pub(crate) fn add(&mut self, row: &Row) {
        self.ingress += row.ingress;
        self.egress += row.egress;
    }
}

/// The account of one origin. Clones are the same account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows(Arc<Mutex<Account>>);

#[derive(Debug, Default)]
struct Account {
    /// By segment, which no two rows share: the last reading that differed from the one before, and when it was taken.
    seen: BTreeMap<u64, (Row, Instant)>,
    dropped: Sums,
}

impl Rows {
    /// All rows that are in memory, and the sums of those that are not, such that each is in exactly one of them.
    pub(crate) fn read(&self, origin: &Origin) -> (Snapshot, Sums) {
        let account = self.lock();
        (origin.usage(None), account.dropped.clone())
    }

    /// Looks at every row and drops those that have been idle for too long; they are returned and logged.
    pub(crate) fn report(&self, origin: &Origin, now: Instant) -> Vec<Row> {
        let mut account = self.lock();
        let account = &mut *account;
        account.look(origin.usage(None).usage, now);
        let gone = origin.prune_usage(|row| account.is_idle(row, now));
        for row in &gone {
            account.seen.remove(&row.segment);
            let key = (Arc::clone(&row.tier), row.protocol);
            account.dropped.entry(key).or_default().add(row);
            log("usage row dropped, idle", row);
        }
        gone
    }

    /// Writes the last reading of every row to the log: nothing that was counted ends unseen.
    pub(crate) fn flush(&self, origin: &Origin) {
        for row in origin.usage(None).usage {
            log("usage at the end", &row);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn look(&mut self, rows: Vec<Row>, now: Instant) {
        let mut seen = BTreeMap::new();
        for row in rows {
            let since = match self.seen.get(&row.segment) {
                Some((before, since)) if *before == row => *since,
                Some(_) | None => now,
            };
            seen.insert(row.segment, (row, since));
        }
        self.seen = seen;
    }

    fn is_idle(&self, row: &Row, now: Instant) -> bool {
        let since = self.seen.get(&row.segment).filter(|(before, _)| before == row).map(|(_, since)| *since);
        since.is_some_and(|since| now.saturating_duration_since(since) >= ROW_IDLE_MAX)
    }
}

fn log(message: &'static str, row: &Row) {
    info!(
        path = %row.path,
        tier = %row.tier,
        protocol = row.protocol.as_str(),
        segment = row.segment,
        ingress_groups = row.ingress.groups,
        ingress_frames = row.ingress.frames,
        ingress_bytes = row.ingress.bytes,
        egress_groups = row.egress.groups,
        egress_frames = row.egress.frames,
        egress_bytes = row.egress.bytes,
        egress_fetches = row.egress.fetches,
        "{message}",
    );
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;
    use moqgate_core::{
        Credential, Direction, Frame, Gate, OpenAdmission, OriginConfig, Path, PublishOptions, Request,
        Timestamp, TrackInfo,
    };

    use super::*;

    const BYTES: u64 = 7;

    /// Publishes one frame of seven bytes, and is gone.
    async fn publish(origin: &Origin, now: Instant) {
        let gate = Gate::new(origin.clone(), Arc::new(OpenAdmission));
        let path = Path::new("live/a").expect("a right path");
        let request = Request {
            protocol: Protocol::Srt,
            direction: Direction::Publish,
            path: path.clone(),
            credential: Credential::None,
            peer: ([127, 0, 0, 1], 1).into(),
        };
        let grant = gate.admit(&request).await.expect("open");
        let session = gate.open(request, grant, SystemTime::UNIX_EPOCH, None);
        let broadcast =
            session.publisher().publish(&path, PublishOptions::default(), now).expect("nobody else is there");
        let info =
            TrackInfo { name: "video".into(), timescale: 1_000_000, priority: 0, max_age: Duration::ZERO };
        let mut group =
            broadcast.create_track(info).expect("a new track").append_group().expect("it is open");
        let payload = Bytes::from_static(&[0; BYTES as usize]);
        group
            .push(Frame { timestamp: Timestamp::from_micros(0), received: now, payload })
            .expect("it is open");
    }

    fn bytes(rows: &Rows, origin: &Origin) -> (u64, u64) {
        let (snapshot, dropped) = rows.read(origin);
        let live = snapshot.usage.iter().map(|row| row.ingress.bytes).sum();
        (live, dropped.values().map(|sides| sides.ingress.bytes).sum())
    }

    #[tokio::test]
    async fn a_row_is_dropped_after_an_idle_hour_and_stays_in_the_sums() {
        let (rows, origin) = (Rows::default(), Origin::new(OriginConfig::default()));
        let start = Instant::now();
        publish(&origin, start).await;
        assert_eq!(rows.report(&origin, start), []);
        // Somebody else publishes there half an hour later: the hour begins again.
        let half = start + ROW_IDLE_MAX / 2;
        publish(&origin, half).await;
        assert_eq!(rows.report(&origin, half), []);
        assert_eq!(rows.report(&origin, start + ROW_IDLE_MAX), []);
        assert_eq!(bytes(&rows, &origin), (2 * BYTES, 0));

        let gone = rows.report(&origin, half + ROW_IDLE_MAX);
        assert_eq!(gone.iter().map(|row| row.ingress.bytes).collect::<Vec<_>>(), [2 * BYTES]);
        assert_eq!(bytes(&rows, &origin), (0, 2 * BYTES));

        publish(&origin, half + ROW_IDLE_MAX).await;
        assert_eq!(bytes(&rows, &origin), (BYTES, 2 * BYTES));
    }

    #[tokio::test]
    async fn a_row_that_was_never_looked_at_is_not_idle() {
        let (rows, origin) = (Rows::default(), Origin::new(OriginConfig::default()));
        let start = Instant::now();
        publish(&origin, start).await;
        assert_eq!(rows.report(&origin, start + 2 * ROW_IDLE_MAX), []);
    }
}
