//! The ledger of a whole moqgate while its database cannot be written.

use rusqlite::Connection;
use serde_json::Value;

use crate::gateway::{Gateway, run};

fn frames(usage: &Value) -> u64 {
    let rows = usage["usage"].as_array().expect("rows");
    rows.iter().map(|row| row["ingress"]["frames"].as_u64().expect("a count")).sum()
}

#[test]
fn a_database_that_is_held_costs_no_frame_and_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("UTF-8");
    let mut gateway = Gateway::start(&["demo", "--data-dir", data, "--usage-interval", "100ms"]);
    let ledger = |gateway: &Gateway| gateway.get("/api/v1/ledger").json();
    gateway.until("records", |gateway| ledger(gateway)["records"].as_u64().filter(|records| *records > 4));

    let holder = Connection::open(folder.path().join("moqgate.sqlite")).expect("the database");
    holder.execute_batch("BEGIN EXCLUSIVE").expect("nobody writes for long");
    gateway.wait_for("the usage ledger cannot be written; media goes on, usage waits in memory");
    let ready = gateway.get("/readyz");
    assert_eq!(ready.status, 200);
    assert!(
        ready.body.contains("usage is not written, it waits in memory: database is locked"),
        "{}",
        ready.body
    );
    assert!(gateway.get("/metrics").body.contains("moqgate_ledger_failing 1\n"));
    let before = frames(&gateway.get("/api/v1/usage").json());
    gateway
        .until("media", |gateway| (frames(&gateway.get("/api/v1/usage").json()) > before + 50).then_some(()));
    holder.execute_batch("ROLLBACK").expect("it was held");
    gateway.wait_for("the usage ledger is written again");
    assert!(gateway.get("/metrics").body.contains("moqgate_ledger_failing 0\n"));

    gateway.signal("TERM");
    let (code, log) = gateway.end_after_errors("the usage ledger cannot be written");
    assert_eq!(code, Some(0));
    // What the last lines of the log say is what the ledger says.
    let said: u64 = log.iter().filter(|line| line.contains("usage at the end")).map(|line| said(line)).sum();
    let report = run(&["usage", "report", "--data-dir", data, "--format", "json"]).stdout;
    let lines: Value = serde_json::from_str(&report).expect("JSON");
    let written: u64 =
        lines.as_array().expect("lines").iter().map(|line| line["bytes"].as_u64().expect("a count")).sum();
    assert!(said > 0);
    assert_eq!(written, said);
}

/// The bytes of a last line.
fn said(line: &str) -> u64 {
    let value = |name: &str| {
        let word = line.split(' ').find_map(|word| word.strip_prefix(name)).expect("the word");
        word.parse::<u64>().expect("a number")
    };
    value("ingress_bytes=") + value("egress_bytes=")
}
