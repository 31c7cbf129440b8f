//! The metrics, and what docs/METRICS.md and the dashboard say of them.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::gateway::Gateway;

const DOCUMENT: &str = include_str!("../../../docs/METRICS.md");
const DASHBOARD: &str = include_str!("../../../docs/grafana.json");

/// Every word of a text that names a metric.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c)).filter(|word| word.starts_with("moqgate_"));
    words.map(str::to_owned).collect()
}

/// What has a row of its own in the document: name and kind.
fn documented() -> BTreeSet<(String, String)> {
    let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `moqgate_"));
    let name_and_kind = |row: &str| {
        let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
        (format!("moqgate_{}", cells.next().expect("a name")), cells.next().expect("a kind"))
    };
    rows.map(name_and_kind).collect()
}

/// What a page of metrics declares: name and kind. Statistics of links, which each gateway has of its own, are one.
fn declared(page: &str) -> BTreeSet<(String, String)> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let pairs = lines.map(|line| line.split_once(' ').expect("a name and a kind"));
    pairs
        .map(|(name, kind)| match name.split_once("_link_") {
            Some((_, rest)) if rest.ends_with("_sum") => ("moqgate_PROTOCOL_link_NAME_sum".to_owned(), kind),
            Some(_) => ("moqgate_PROTOCOL_link_NAME_max".to_owned(), kind),
            None => (name.to_owned(), kind),
        })
        .map(|(name, kind)| (name, kind.to_owned()))
        .collect()
}

/// Everything that is compiled into moqgate.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path: PathBuf = entry.expect("an entry").path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &std::fs::read_to_string(&path).expect("text");
        }
    }
    text
}

#[test]
fn the_document_names_what_there_is() {
    let folder = tempfile::tempdir().expect("a folder");
    // Nobody answers there once the listener is gone.
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let url = format!("http://{nobody}/");
    let data = folder.path().to_str().expect("UTF-8");
    let flags = ["demo", "--data-dir", data, "--usage-interval", "200ms", "--usage-export-url", &url];
    let mut gateway = Gateway::start(&flags);
    let sample = |page: &str, name: &str| {
        let line = page.lines().find(|line| line.split([' ', '{']).next() == Some(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default()
    };
    let moved = [
        "moqgate_broadcasts",
        "moqgate_ingress_bytes_total",
        "moqgate_ingress_frames_total",
        "moqgate_ingress_groups_total",
        "moqgate_ingress_active_opened_total",
        "moqgate_sessions_opened_total",
        "moqgate_ledger_records_total",
        "moqgate_ledger_written_timestamp_seconds",
        "moqgate_export_failures_total",
        "moqgate_export_waiting",
        "moqgate_export_lag_seconds",
        "moqgate_srt_datagrams_total",
        "moqgate_srt_connections_total",
        "moqgate_rtmp_connections_total",
        "moqgate_rtmp_bytes_total",
    ];
    let page = gateway.until("every metric to move", |gateway| {
        let page = gateway.get("/metrics").body;
        moved.iter().all(|name| sample(&page, name) > 0.0).then_some(page)
    });
    let (documented, declared) = (documented(), declared(&page));
    let missing: Vec<_> = declared.difference(&documented).collect();
    assert!(missing.is_empty(), "docs/METRICS.md lacks {missing:#?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let code = sources(&root.join("server/src")) + &sources(&root.join("gateways"));
    for (name, _) in documented.difference(&declared) {
        assert!(code.contains(&format!("\"{name}\"")), "docs/METRICS.md names {name}, which is nowhere");
    }
    gateway.signal("TERM");
    assert_eq!(gateway.end().0, Some(0));
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_what_there_is() {
    let known: BTreeSet<String> = documented().into_iter().map(|(name, _)| name).collect();
    let is_known = |name: &String| {
        let family = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        known.contains(name) || family.is_some_and(|family| known.contains(family)) || name.contains("_link_")
    };
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut queries = 0;
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        for target in panel["targets"].as_array().expect("targets") {
            let asked = names(target["expr"].as_str().expect("a query"));
            assert!(!asked.is_empty(), "{panel}");
            assert!(asked.iter().all(is_known), "{}: {asked:?}", panel["title"]);
            queries += 1;
        }
    }
    assert!(queries >= 10);
    let asked = names(DOCUMENT.split("## Page on").nth(1).expect("the alerts"));
    let unknown: Vec<_> = asked.iter().filter(|name| !is_known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
