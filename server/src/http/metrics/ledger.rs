//! Whether usage gets to the disk.

use super::text::{Kind, Labels, Page};
use crate::ledger::{Exported, Reading};
use crate::wall;

const MILLIS_PER_SECOND: f64 = 1e3;

/// Writes how the ledger is doing.
pub(super) fn write(page: &mut Page, reading: &Reading) {
    let mut one = |name, help, kind, value: u64| page.family(name, help, kind, [(Labels::default(), value)]);
    one("moqgate_ledger_records_total", "Usage records on the disk.", Kind::Counter, reading.records);
    one("moqgate_ledger_failures_total", "Failed attempts to write usage.", Kind::Counter, reading.failures);
    one(
        "moqgate_ledger_folded_total",
        "Ended sessions billed together, not one by one.",
        Kind::Counter,
        reading.folded,
    );
    one("moqgate_ledger_waiting", "Sessions whose usage waits for the disk.", Kind::Gauge, reading.waiting);
    let failing = u64::from(reading.failing.is_some());
    one("moqgate_ledger_failing", "1 while usage cannot be written.", Kind::Gauge, failing);
    let written = reading.written_at.map(|at| wall::millis(at) as f64 / MILLIS_PER_SECOND);
    page.family(
        "moqgate_ledger_written_timestamp_seconds",
        "When all usage was last on the disk.",
        Kind::Gauge,
        written.map(|at| (Labels::default(), at)),
    );
    if let Some(export) = &reading.export {
        write_export(page, export);
    }
}

fn write_export(page: &mut Page, export: &Exported) {
    let mut one = |name, help, kind, value: u64| page.family(name, help, kind, [(Labels::default(), value)]);
    one(
        "moqgate_export_records_total",
        "Usage records that the endpoint took.",
        Kind::Counter,
        export.records,
    );
    one("moqgate_export_failures_total", "Failed requests to the endpoint.", Kind::Counter, export.failures);
    one(
        "moqgate_export_waiting",
        "Usage records that the endpoint has not taken.",
        Kind::Gauge,
        export.waiting,
    );
    let lag = export.lag_ms() as f64 / MILLIS_PER_SECOND;
    page.family(
        "moqgate_export_lag_seconds",
        "Age of the oldest usage record that the endpoint has not taken.",
        Kind::Gauge,
        [(Labels::default(), lag)],
    );
}
