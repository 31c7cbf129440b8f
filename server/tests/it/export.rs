//! Usage records on their way to an endpoint that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use moqgate_core::usage::EndReason;
use serde_json::Value;

use crate::gateway::{Gateway, run};

/// Only a gateway that hangs takes as long.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than a test ever causes.
const REQUESTS_MAX: usize = 1000;

/// What the endpoint does with a request.
#[derive(Clone, Copy)]
enum Mood {
    Take,
    Refuse,
    /// Reads everything and hangs up: the sender cannot know.
    HangUp,
}

/// One request as it came.
struct Request {
    head: String,
    events: Vec<Value>,
    is_taken: bool,
}

/// An endpoint in such moods, the last one for ever.
fn endpoint(moods: Vec<Mood>) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/api/v1/events?x=1", listener.local_addr().expect("an address"));
    let (sender, requests) = sync_channel(REQUESTS_MAX);
    thread::spawn(move || {
        for index in 0.. {
            let Ok((stream, _)) = listener.accept() else { return };
            let mood = *moods.get(index).or(moods.last()).expect("a mood");
            // A gateway that is killed says half a request.
            let Some(request) = answer(stream, mood) else { continue };
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (url, requests)
}

fn answer(mut stream: TcpStream, mood: Mood) -> Option<Request> {
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut bytes = Vec::new();
    let mut more = |bytes: &mut Vec<u8>| {
        let mut chunk = [0; 65_536];
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        Some(())
    };
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        more(&mut bytes)?;
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).expect("text").to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let end = head_end + 4 + length.parse::<usize>().expect("a number");
    while bytes.len() < end {
        more(&mut bytes)?;
    }
    let status = match mood {
        Mood::Take => "204 No Content",
        Mood::Refuse => "503 Service Unavailable",
        Mood::HangUp => "",
    };
    if !status.is_empty() {
        let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
    let events = serde_json::from_slice(&bytes[head_end + 4..end]).expect("a batch");
    Some(Request { head, events, is_taken: !matches!(mood, Mood::Refuse) })
}

/// Every event that arrived, by id, and how often.
#[derive(Default)]
struct Inbox(BTreeMap<String, (Value, usize)>);

impl Inbox {
    fn add(&mut self, request: Request) {
        for event in request.events {
            let id = event["id"].as_str().expect("an id").to_owned();
            let known = self.0.entry(id).or_insert_with(|| (event.clone(), 0));
            assert_eq!(known.0, event, "an id stands for one event");
            known.1 += usize::from(request.is_taken);
        }
    }

    fn finals(&self) -> usize {
        self.0.values().filter(|(event, _)| event["data"]["final"] == true).count()
    }

    fn sum(&self, field: &str) -> u64 {
        self.0.values().map(|(event, _)| event["data"][field].as_u64().expect("a count")).sum()
    }
}

/// Takes requests until the inbox is `full`.
fn collect(inbox: &mut Inbox, requests: &Receiver<Request>, full: impl Fn(&Inbox) -> bool) {
    while !full(inbox) {
        inbox.add(requests.recv_timeout(PATIENCE).expect("another request"));
    }
}

/// What `moqgate usage report` says of every session.
fn lines(folder: &str) -> Vec<Value> {
    let ended = run(&["usage", "report", "--data-dir", folder, "--format", "json", "--by", "session"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("JSON")
}

fn reported(folder: &str, field: &str) -> u64 {
    lines(folder).iter().map(|line| line[field].as_u64().expect("a count")).sum()
}

#[test]
fn every_record_gets_there_whatever_the_endpoint_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("UTF-8");
    let token = folder.path().join("token");
    std::fs::write(&token, "secret-1\n").expect("written");
    let (url, requests) = endpoint(vec![Mood::Refuse, Mood::HangUp, Mood::Take]);
    let flags = [
        "demo",
        "--data-dir",
        data,
        "--usage-interval",
        "200ms",
        "--usage-export-url",
        &url,
        "--usage-export-token-file",
        token.to_str().expect("UTF-8"),
        "--node",
        "ams 1",
    ];
    // A run that ends in order, while its last records wait: the next run delivers them.
    let mut gateway = Gateway::start(&flags);
    gateway.wait_for("the endpoint answers 503");
    let lag = |gateway: &Gateway, field: &str| gateway.get("/api/v1/ledger").json()["export"][field].as_f64();
    gateway.until("a lag", |gateway| lag(gateway, "lag_seconds").filter(|lag| *lag > 0.0));
    let metrics = gateway.get("/metrics").body;
    assert!(!metrics.contains("moqgate_export_waiting 0\n"), "{metrics}");
    assert!(metrics.contains("moqgate_export_failures_total 1\n"), "{metrics}");
    gateway.wait_for("usage is exported again");
    gateway.until("no lag", |gateway| lag(gateway, "lag_seconds").filter(|lag| *lag < 10.0));
    gateway.signal("TERM");
    assert_eq!(gateway.end().0, Some(0));
    // A run that is killed: the next one closes its sessions.
    let mut gateway = Gateway::start(&flags);
    gateway.until("records", |gateway| {
        gateway.get("/api/v1/ledger").json()["records"].as_u64().filter(|records| *records > 5)
    });
    drop(gateway);
    let gateway = Gateway::start(&[&flags[1..], &["--srt-listen", "off", "--rtmp-listen", "off"]].concat());
    let mut inbox = Inbox::default();
    let sessions = lines(data).len();
    collect(&mut inbox, &requests, |inbox| {
        inbox.finals() == sessions && inbox.sum("bytes") == reported(data, "bytes")
    });
    drop(gateway);
    for reason in ["stopped", "crashed"] {
        assert!(inbox.0.values().any(|(event, _)| event["data"]["reason"] == reason), "{reason}");
    }

    for field in ["groups", "frames", "bytes"] {
        assert_eq!(inbox.sum(field), reported(data, field), "{field}");
    }
    assert!(inbox.0.values().any(|(_, taken)| *taken > 1), "what was not answered came again");
    check_events(&inbox);
}

fn check_events(inbox: &Inbox) {
    let schema: Value =
        serde_json::from_str(include_str!("../../../docs/usage-record.schema.json")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for (event, taken) in inbox.0.values() {
        assert!(*taken > 0, "{event}");
        if let Err(error) = validator.validate(&event["data"]) {
            panic!("{error}: {event}");
        }
        assert_eq!((&event["specversion"], &event["type"]), (&"1.0".into(), &"moqgate.usage.v1".into()));
        assert_eq!((&event["source"], &event["subject"]), (&"/moqgate/ams+1".into(), &"default".into()));
        assert_eq!((&event["id"], &event["time"]), (&event["data"]["id"], &event["data"]["to"]));
    }
    let mut sequences: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    for (event, _) in inbox.0.values() {
        let data = &event["data"];
        let account =
            (data["session"].as_str().expect("a name"), data["direction"].as_str().expect("a word"));
        sequences.entry(account).or_default().push(data["sequence"].as_u64().expect("a number"));
    }
    for (account, mut numbers) in sequences {
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "{account:?}: {numbers:?}");
    }
    // The schema refuses what no record may be.
    let good = inbox.0.values().next().expect("one").0["data"].clone();
    for (field, wrong) in [("direction", "sideways"), ("reason", "bored"), ("bytes", "many"), ("more", "")] {
        let mut bad = good.clone();
        bad[field] = wrong.into();
        assert!(!validator.is_valid(&bad), "{bad}");
    }
}

#[test]
fn the_token_is_shown_and_the_form_is_the_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("UTF-8");
    let (url, requests) = endpoint(vec![Mood::Take]);
    let flags = ["demo", "--data-dir", data, "--usage-interval", "200ms", "--usage-export-url", &url];
    let mut gateway = Gateway::start(&[&flags[..], &["--usage-export-token", "secret-2"]].concat());
    let request = requests.recv_timeout(PATIENCE).expect("a request");
    let has = |line: &str| request.head.lines().any(|other| other == line);
    assert!(has("post /api/v1/events?x=1 http/1.1"), "{}", request.head);
    assert!(has("content-type: application/cloudevents-batch+json"), "{}", request.head);
    assert!(has("authorization: bearer secret-2"), "{}", request.head);
    gateway.until("exported", |gateway| {
        gateway.get("/metrics").body.contains("moqgate_export_records_total 0\n").then_some(()).xor(Some(()))
    });
    gateway.signal("TERM");
    let (code, log) = gateway.end();
    assert_eq!(code, Some(0));
    assert!(!log.iter().any(|line| line.contains("secret-2")));
}

/// What the code knows, what the schema allows, and what docs/USAGE.md explains.
#[test]
fn the_reasons_of_an_end_are_the_same_everywhere() {
    // The one that no session gives: the next run writes it for those that were killed with their process.
    let known = EndReason::all().map(EndReason::as_str).chain(["crashed"]).map(str::to_owned);
    let known: BTreeSet<String> = known.collect();
    let schema: Value =
        serde_json::from_str(include_str!("../../../docs/usage-record.schema.json")).expect("JSON");
    let allowed = schema["properties"]["reason"]["enum"].as_array().expect("an enumeration");
    let allowed = allowed.iter().filter_map(Value::as_str).map(str::to_owned);
    assert_eq!(allowed.collect::<BTreeSet<_>>(), known, "docs/usage-record.schema.json");
    let rules = include_str!("../../../docs/USAGE.md");
    let (_, table) = rules.split_once("| reason |").expect("a table of reasons");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let explained =
        cells.flat_map(|cell| cell.split(',')).map(|word| word.trim().trim_matches('`').to_owned());
    assert_eq!(explained.collect::<BTreeSet<_>>(), known, "docs/USAGE.md");
}
