//! The writer against disks that fail.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use moqgate_core::usage::{Bookkeeping, Clock};
use moqgate_core::{
    BroadcastProducer, Credential, Direction, Frame, Gate, GroupProducer, OpenAdmission, Origin,
    OriginConfig, Path, Protocol, PublishOptions, Request, Session, Timestamp, TrackInfo, TrackProducer,
};
use rusqlite::Connection;

use super::*;

const BYTES: u64 = 7;

/// A data folder, and what runs on it.
struct Machine {
    folder: tempfile::TempDir,
    origin: Origin,
    writer: Writer,
    status: Status,
}

struct Publisher {
    group: GroupProducer,
    _video: TrackProducer,
    _broadcast: BroadcastProducer,
    _session: Session,
}

/// What the ledger says in sum.
#[derive(Debug, PartialEq, Eq)]
struct Sum {
    bytes: i64,
    records: i64,
    finals: i64,
}

impl Machine {
    fn new() -> Self {
        Self::on(tempfile::tempdir().expect("a folder"))
    }

    fn on(folder: tempfile::TempDir) -> Self {
        // Time stands still, so that only payloads make records.
        let start = Instant::now();
        let bookkeeping = Some(Bookkeeping { clock: Clock::new(move || start), ended_max: ENDED_MAX });
        let config = OriginConfig { bookkeeping, ..OriginConfig::default() };
        let (origin, status) = (Origin::new(config), Status::default());
        let how = How {
            node: "n".to_owned(),
            interval: Duration::from_secs(10),
            keep: Duration::from_secs(86_400),
            endpoint: None,
        };
        let store = Store::open(folder.path()).expect("a database");
        let writer = Writer::new(store, origin.clone(), how, status.clone()).expect("a writer");
        Self { folder, origin, writer, status }
    }

    /// What a kill and a restart leave.
    fn killed(self) -> Self {
        let Self { folder, writer, .. } = self;
        drop(writer);
        Self::on(folder)
    }

    async fn publish(&self, path: &str) -> Publisher {
        let gate = Gate::new(self.origin.clone(), Arc::new(OpenAdmission));
        let path = Path::new(path).expect("a right path");
        let request = Request {
            protocol: Protocol::Srt,
            direction: Direction::Publish,
            path: path.clone(),
            credential: Credential::None,
            peer: ([127, 0, 0, 1], 1).into(),
        };
        let grant = gate.admit(&request).await.expect("open");
        let session = gate.open(request, grant, SystemTime::UNIX_EPOCH, None);
        let publisher = session.publisher();
        let broadcast = publisher.publish(&path, PublishOptions::default(), Instant::now()).expect("free");
        let info =
            TrackInfo { name: "video".into(), timescale: 1_000_000, priority: 0, max_age: Duration::ZERO };
        let video = broadcast.create_track(info).expect("a new track");
        let group = video.append_group().expect("it is open");
        Publisher { group, _video: video, _broadcast: broadcast, _session: session }
    }

    fn connect(&self) -> Connection {
        Connection::open(self.folder.path().join("moqgate.sqlite")).expect("it opens")
    }

    fn sum(&self) -> Sum {
        let sql = "SELECT ifnull(sum(bytes), 0), count(*), count(reason) FROM usage_records";
        let sum = |row: &rusqlite::Row<'_>| {
            Ok(Sum { bytes: row.get(0)?, records: row.get(1)?, finals: row.get(2)? })
        };
        self.connect().query_row(sql, [], sum).expect("it is read")
    }

    fn reasons(&self) -> Vec<String> {
        let connection = self.connect();
        let mut query = connection
            .prepare("SELECT reason FROM usage_records WHERE reason NOTNULL ORDER BY position")
            .expect("a query");
        query.query_map([], |row| row.get(0)).expect("rows").collect::<Result<_, _>>().expect("words")
    }
}

impl Publisher {
    fn push(&mut self) {
        let payload = Bytes::from_static(&[0; BYTES as usize]);
        let frame = Frame { timestamp: Timestamp::from_micros(0), received: Instant::now(), payload };
        self.group.push(frame).expect("it is open");
    }
}

#[tokio::test]
async fn each_interval_is_a_record_and_the_end_is_another() {
    let mut machine = Machine::new();
    let mut publisher = machine.publish("live/a").await;
    for interval in 1..=3 {
        publisher.push();
        assert!(machine.writer.tick());
        assert_eq!(machine.sum(), Sum { bytes: 7 * interval, records: interval, finals: 0 });
    }
    drop(publisher);
    assert!(machine.writer.tick() && machine.writer.tick());
    assert_eq!(machine.sum(), Sum { bytes: 21, records: 4, finals: 1 });
    assert_eq!(machine.reasons(), ["left"]);
    let sequences =
        "SELECT group_concat(sequence) FROM (SELECT sequence FROM usage_records ORDER BY position)";
    let read: String = machine.connect().query_row(sequences, [], |row| row.get(0)).expect("numbers");
    assert_eq!(read, "0,1,2,3");
    assert_eq!(machine.status.read().records, 4);
}

#[tokio::test]
async fn a_killed_run_loses_one_interval_and_gets_its_last_records_from_the_next() {
    let mut machine = Machine::new();
    let (mut a, mut b) = (machine.publish("live/a").await, machine.publish("live/b").await);
    a.push();
    b.push();
    machine.writer.tick();
    a.push();
    drop(b);
    let mut machine = machine.killed();
    drop(a);
    machine.writer.tick();
    assert_eq!(machine.sum(), Sum { bytes: 14, records: 4, finals: 2 });
    assert_eq!(machine.reasons(), ["crashed", "crashed"]);
    // Once is enough, and the new run has accounts of its own.
    let mut machine = machine.killed();
    let mut a = machine.publish("live/a").await;
    a.push();
    machine.writer.tick();
    assert_eq!(machine.sum(), Sum { bytes: 21, records: 5, finals: 2 });
}

#[tokio::test]
async fn a_full_disk_costs_nothing_when_it_has_room_again() {
    let mut machine = Machine::new();
    assert!(machine.writer.tick());
    machine.writer.tables.as_ref().expect("it is open").fill();
    // More accounts than fit into the pages that are there.
    let mut publishers = Vec::new();
    for index in 0..200 {
        let mut publisher = machine.publish(&format!("live/with-a-name-of-some-length-{index}")).await;
        publisher.push();
        publishers.push(publisher);
    }
    assert!(!machine.writer.tick(), "the disk is full");
    let reading = machine.status.read();
    assert_eq!((reading.waiting, reading.failures, reading.records), (200, 1, 0));
    assert!(reading.failing.expect("it says why").contains("full"));
    assert_eq!(machine.sum(), Sum { bytes: 0, records: 0, finals: 0 });
    publishers[0].push();
    drop(publishers);
    // The next connection has no limit: there is room.
    assert!(machine.writer.tick());
    assert_eq!(machine.sum(), Sum { bytes: 201 * 7, records: 200, finals: 200 });
    let reading = machine.status.read();
    assert_eq!((reading.waiting, reading.failing, reading.folded), (0, None, 0));
}

#[tokio::test]
async fn a_commit_of_which_nothing_was_heard_is_not_repeated() {
    let mut machine = Machine::new();
    let mut publisher = machine.publish("live/a").await;
    publisher.push();
    machine.writer.tick();
    publisher.push();
    // What was committed, and reported as an error.
    let statements = machine.origin.settle();
    let batch = Batch {
        boot: machine.writer.boot,
        number: machine.writer.next_batch,
        node: "n".to_owned(),
        statements,
        at: (Instant::now(), SystemTime::now()),
    };
    machine.writer.tables.take().expect("it is open").write(&batch).expect("it is written");
    machine.writer.uncertain = Some(batch);
    publisher.push();
    assert!(machine.writer.tick());
    assert_eq!(machine.sum(), Sum { bytes: 21, records: 3, finals: 0 });
}

#[tokio::test]
async fn a_commit_that_did_not_happen_is_repeated_with_what_came_since() {
    let mut machine = Machine::new();
    let mut publisher = machine.publish("live/a").await;
    publisher.push();
    let statements = machine.origin.settle();
    machine.writer.uncertain = Some(Batch {
        boot: machine.writer.boot,
        number: machine.writer.next_batch,
        node: "n".to_owned(),
        statements,
        at: (Instant::now(), SystemTime::now()),
    });
    publisher.push();
    assert!(machine.writer.tick());
    assert_eq!(machine.sum(), Sum { bytes: 14, records: 1, finals: 0 });
}

#[tokio::test]
async fn old_records_go_unless_an_endpoint_wants_them_or_they_are_the_last_of_an_open_account() {
    let mut machine = Machine::new();
    let (mut a, mut b) = (machine.publish("live/a").await, machine.publish("live/b").await);
    for _ in 0..2 {
        a.push();
        b.push();
        machine.writer.tick();
    }
    drop(b);
    machine.writer.tick();
    assert_eq!(machine.sum().records, 5);
    let later = SystemTime::now() + Duration::from_secs(60);
    let mut tables = machine.writer.tables.take().expect("it is open");
    assert_eq!(tables.delete(later, Some("http://a")).expect("deleted"), 0, "nobody has taken them");
    machine.connect().execute("INSERT INTO usage_exports VALUES ('http://a', 1)", []).expect("written");
    assert_eq!(tables.delete(later, Some("http://a")).expect("deleted"), 1);
    assert_eq!(tables.delete(later, None).expect("deleted"), 3);
    assert_eq!(machine.sum(), Sum { bytes: 7, records: 1, finals: 0 });
    let accounts = "SELECT count(*) FROM usage_accounts";
    assert_eq!(machine.connect().query_row(accounts, [], |row| row.get(0)), Ok(1));
    a.push();
    machine.writer.tick();
    let sequence = "SELECT max(sequence) FROM usage_records";
    assert_eq!(machine.connect().query_row(sequence, [], |row| row.get(0)), Ok(2));
}
