//! The ledger of a whole moqgate while its database cannot be written.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rusqlite::Connection;
use serde_json::Value;

use crate::gateway::{Gateway, run};

fn frames(usage: &Value) -> u64 {
    let rows = usage["usage"].as_array().expect("rows");
    rows.iter().map(|row| row["ingress"]["frames"].as_u64().expect("a count")).sum()
}

/// While the database cannot be written, which `hold` brings about and dropping its result ends, media goes on, it is said
/// loudly and why, and nothing of what was counted is missing afterwards.
fn check<T>(hold: impl FnOnce(&Path) -> T, why: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("UTF-8");
    let mut gateway = Gateway::start(&["demo", "--data-dir", data, "--usage-interval", "100ms"]);
    let ledger = |gateway: &Gateway| gateway.get("/api/v1/ledger").json();
    gateway.until("records", |gateway| ledger(gateway)["records"].as_u64().filter(|records| *records > 4));

    let held = hold(folder.path());
    gateway.wait_for("the usage ledger cannot be written; media goes on, usage waits in memory");
    let told = format!("usage is not written, it waits in memory: {why}");
    let ready = gateway.until("the reason", |gateway| {
        let ready = gateway.get("/readyz");
        ready.body.contains(&told).then_some(ready)
    });
    assert_eq!(ready.status, 200);
    assert!(gateway.get("/metrics").body.contains("moqgate_ledger_failing 1\n"));
    let before = frames(&gateway.get("/api/v1/usage").json());
    gateway
        .until("media", |gateway| (frames(&gateway.get("/api/v1/usage").json()) > before + 50).then_some(()));
    drop(held);
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

#[test]
fn a_database_that_is_held_costs_no_frame_and_is_said() {
    let hold = |folder: &Path| {
        let holder = Connection::open(folder.join("moqgate.sqlite")).expect("the database");
        holder.execute_batch("BEGIN EXCLUSIVE").expect("nobody writes for long");
        holder
    };
    check(hold, "database is locked");
}

/// Files that nobody may change, root neither: what a disk is that was mounted again for reading only.
struct ReadOnly(Vec<PathBuf>);

impl ReadOnly {
    fn set(&self, flag: &str) -> bool {
        let status = Command::new("chattr").arg(flag).args(&self.0).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        self.set("-i");
    }
}

#[test]
fn a_disk_that_becomes_read_only_costs_no_frame_and_is_said() {
    let probe = tempfile::NamedTempFile::new().expect("a file");
    let probe = ReadOnly(vec![probe.path().to_owned()]);
    if !probe.set("+i") {
        // It takes root and a file system that knows the flag.
        let strict = std::env::var_os("STRICT").is_some_and(|value| value == "1");
        assert!(!strict, "no file can be made immutable here");
        return;
    }
    drop(probe);
    let hold = |folder: &Path| {
        // The shared memory beside them is mapped, and is no file on a disk to its users.
        let files = ["moqgate.sqlite", "moqgate.sqlite-wal", "."].map(|name| folder.join(name));
        let held = ReadOnly(files.to_vec());
        assert!(held.set("+i"));
        held
    };
    check(hold, "attempt to write a readonly database");
}

/// The bytes of a last line.
fn said(line: &str) -> u64 {
    let value = |name: &str| {
        let word = line.split(' ').find_map(|word| word.strip_prefix(name)).expect("the word");
        word.parse::<u64>().expect("a number")
    };
    value("ingress_bytes=") + value("egress_bytes=")
}
