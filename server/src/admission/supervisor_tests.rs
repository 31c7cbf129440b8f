use std::time::Instant;

use bytes::Bytes;
use moqgate_core::{
    Credential, Frame, Gate, GroupProducer, Limits, OpenAdmission, OriginConfig, Pattern, Protocol,
    PublishOptions, Session, Subscription, Timestamp, TrackInfo,
};

use super::super::keys::NewKey;
use super::*;
use crate::store::Store;

/// A second, as the wall clock of these tests counts it.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

struct Rig {
    supervisor: Supervisor,
    gate: Gate,
}

fn rig(keys: Option<Keys>) -> Rig {
    let origin = Origin::new(OriginConfig::default());
    let gate = Gate::new(origin.clone(), Arc::new(OpenAdmission));
    Rig { supervisor: Supervisor::new(origin, keys), gate }
}

fn request(direction: Direction) -> Request {
    let path = Path::new("live/a").expect("a path");
    let peer = ([192, 0, 2, 1], 1).into();
    Request { protocol: Protocol::Srt, direction, path, credential: Credential::None, peer }
}

fn grant(holder: &str) -> Grant {
    let everything = vec![Pattern::all()];
    let identity = Identity::Credential(holder.into());
    Grant { publish: everything.clone(), subscribe: everything, ..Grant::new(identity) }
}

impl Rig {
    fn open(&self, direction: Direction, grant: Grant, seconds: u64) -> Session {
        self.gate.open(request(direction), grant, at(seconds), None)
    }

    /// Why a session was ended, if it was.
    fn look(&self, session: &Session, seconds: u64) -> Option<KillReason> {
        self.supervisor.look(at(seconds));
        let mut killed = std::pin::pin!(session.killed());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match killed.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(reason) => Some(reason),
            std::task::Poll::Pending => None,
        }
    }
}

fn frame(bytes: usize) -> Frame {
    Frame { timestamp: Timestamp::ZERO, received: Instant::now(), payload: Bytes::from(vec![0; bytes]) }
}

#[test]
fn a_grant_ends() {
    let rig = rig(None);
    let session = rig.open(Direction::Publish, Grant { expires: Some(at(10)), ..grant("a") }, 1);
    assert_eq!(rig.look(&session, 9), None);
    assert_eq!(rig.look(&session, 10), Some(KillReason::Expired));
    let limits = Limits { duration: Some(Duration::from_secs(60)), ..Limits::default() };
    let session = rig.open(Direction::Subscribe, Grant { limits, ..grant("b") }, 100);
    assert_eq!(rig.look(&session, 159), None);
    assert_eq!(rig.look(&session, 160), Some(KillReason::Minutes));
}

#[test]
fn the_bitrate_is_measured_over_ten_seconds() {
    let rig = rig(None);
    let limits = Limits { bitrate: Some(8000), ..Limits::default() };
    let session = rig.open(Direction::Publish, Grant { limits, ..grant("a") }, 0);
    let path = session.path().clone();
    let options = PublishOptions::default();
    let broadcast = session.publisher().publish(&path, options, Instant::now()).expect("free");
    let info = TrackInfo { name: "v".into(), timescale: 1000, priority: 0, max_age: Duration::ZERO };
    let track = broadcast.create_track(info).expect("new");
    let push = |bytes| {
        let mut group: GroupProducer = track.append_group().expect("open");
        group.push(frame(bytes)).expect("open");
    };
    // Nine times as much as allowed, but only for a second: 900 bytes a second in the mean.
    push(9000);
    for second in 0..=10 {
        assert_eq!(rig.look(&session, second), None, "second {second}");
    }
    for second in 11..=20 {
        push(1000);
        assert_eq!(rig.look(&session, second), None, "exactly as much as allowed");
    }
    push(1001);
    assert_eq!(rig.look(&session, 21), Some(KillReason::Bitrate));
}

#[tokio::test]
async fn viewers_of_a_holder_and_of_a_broadcast() {
    let rig = rig(None);
    let limits = Limits { viewers: Some(2), ..Limits::default() };
    let limited = Grant { limits, ..grant("publisher") };
    // Each asks a second after the one before.
    let seconds = std::cell::Cell::new(0);
    let admit = |request: &Request, grant: &Grant| {
        seconds.set(seconds.get() + 1);
        rig.supervisor.admit(request, grant, Instant::now() + Duration::from_secs(seconds.get()))
    };
    assert!(admit(&request(Direction::Publish), &limited).is_ok());
    let publisher = rig.open(Direction::Publish, limited, 0);
    let path = publisher.path().clone();
    let options = PublishOptions::default();
    let broadcast = publisher.publisher().publish(&path, options, Instant::now()).expect("free");
    let info = TrackInfo { name: "v".into(), timescale: 1000, priority: 0, max_age: Duration::ZERO };
    let _track = broadcast.create_track(info).expect("new");

    let one = rig.open(Direction::Subscribe, grant("one"), 1);
    assert!(admit(&request(Direction::Subscribe), &grant("two")).is_ok());
    // A MoQ session watches what it subscribes to.
    let two = rig.open(Direction::Both, grant("two"), 2);
    let watching = two.consumer().consume(&path).expect("live");
    let reader = watching.subscribe("v", Subscription::default()).await.expect("there");
    let denied = admit(&request(Direction::Subscribe), &grant("three")).expect_err("full");
    assert_eq!(denied.to_string(), "overloaded: as many watch as the credential allows");
    // One that came in at the same moment is one too many; who was there first stays.
    let three = rig.open(Direction::Subscribe, grant("three"), 3);
    assert_eq!(rig.look(&three, 4), Some(KillReason::Viewers));
    assert_eq!((rig.look(&one, 4), rig.look(&two, 4), rig.look(&publisher, 4)), (None, None, None));
    drop((three, reader, watching));

    let alone = Grant { limits: Limits { viewers: Some(1), ..Limits::default() }, ..grant("alone") };
    assert!(admit(&request(Direction::Subscribe), &alone).is_ok());
    let other = Request { path: Path::new("live/b").expect("a path"), ..request(Direction::Subscribe) };
    let first = rig.gate.open(other.clone(), alone.clone(), at(5), None);
    assert!(admit(&other, &alone).is_err());
    let second = rig.gate.open(other, alone, at(6), None);
    assert_eq!(rig.look(&second, 7), Some(KillReason::Viewers));
    assert_eq!(rig.look(&first, 7), None);
}

#[tokio::test]
async fn keys_that_change_end_their_sessions() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = Keys::open(&Store::open(folder.path()).expect("a database")).expect("no keys");
    let rig = rig(Some(keys.clone()));
    let new = |minutes: Option<u64>| -> NewKey {
        let wish = serde_json::json!({"paths": ["**"], "direction": "both", "minutes": minutes});
        serde_json::from_value(wish).expect("a wish")
    };
    let (key, _) = keys.add(new(None), at(0)).await.expect("made");
    let open = |id: &str, seconds| rig.open(Direction::Publish, grant(&format!("key:{id}")), seconds);
    let old = open(&key.id, 1);
    assert_eq!(rig.look(&old, 2), None);
    keys.rotate(key.id.clone(), at(3)).await.expect("rotated");
    assert_eq!(rig.look(&old, 4), Some(KillReason::Revoked));
    drop(old);
    let young = open(&key.id, 5);
    assert_eq!(rig.look(&young, 6), None);
    keys.revoke(key.id, at(7)).await.expect("revoked");
    assert_eq!(rig.look(&young, 8), Some(KillReason::Revoked));
    drop(young);

    let (key, _) = keys.add(new(Some(1)), at(10)).await.expect("made");
    let both = [open(&key.id, 10), open(&key.id, 10)];
    rig.look(&both[0], 10);
    assert_eq!(rig.look(&both[0], 39), None);
    rig.supervisor.save().await;
    assert_eq!(keys.by_id(&key.id).expect("known").used, 58, "29 s of two sessions");
}
