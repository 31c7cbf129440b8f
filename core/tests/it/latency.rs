//! How long frames take, as the egress door measures it.

use std::time::Duration;

use moqgate_core::{
    Forwarded, Latency, Objective, Observed, OpenAdmission, OriginConfig, Pattern, Protocol, Session, Start,
    Subscription, TrackConsumer, TrackProducer,
};

use crate::rig::{Kept, Rig, at, track};

const MILLI: Duration = Duration::from_millis(1);

fn objective(pattern: &str, transport: Option<Protocol>, below: u32) -> Objective {
    Objective {
        broadcasts: Pattern::new(pattern).unwrap(),
        transport,
        below: MILLI * below,
        window: Duration::from_secs(300),
    }
}

async fn reader(session: &Session) -> TrackConsumer {
    let watched = session.consumer().consume(&at("live/cam")).unwrap();
    watched.subscribe("video", Subscription::default()).await.unwrap()
}

/// One frame of one group, pushed at the start of time and forwarded so many milliseconds later.
async fn deliver(rig: &Rig, video: &TrackProducer, readers: &mut [TrackConsumer], millis: u32) {
    let mut group = video.append_group().unwrap();
    group.push(rig.frame(0, 10)).unwrap();
    group.finish();
    for reader in readers {
        let mut group = reader.next_group().await.unwrap().unwrap();
        let mut sink = Kept { now: Some(rig.start + MILLI * millis), ..Kept::unlimited() };
        assert_eq!(group.forward(&mut sink).await, Ok(Forwarded::Frames(1)));
    }
}

fn entry(rig: &Rig, transport: Protocol) -> Option<Latency> {
    rig.origin().latencies().into_iter().find(|entry| entry.transport == transport)
}

#[tokio::test]
async fn percentiles_are_those_of_the_last_1024_samples() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "live/cam").await;
    let video = track(&broadcast, "video");
    let session = rig.session(Protocol::Moq, 2).await;
    let mut readers = [reader(&session).await];
    assert_eq!(entry(&rig, Protocol::Moq), None);
    for millis in 1..=100 {
        deliver(&rig, &video, &mut readers, millis).await;
    }
    let seen = entry(&rig, Protocol::Moq).unwrap();
    assert_eq!((seen.p50, seen.p95, seen.p99, seen.max), (51 * MILLI, 96 * MILLI, 100 * MILLI, 100 * MILLI));
    assert_eq!((seen.sample_count, seen.total_observed), (100, 100));
    // The reader is still there and has staged some of them; now they are all old.
    for _ in 0..1024 {
        deliver(&rig, &video, &mut readers, 200).await;
    }
    let seen = entry(&rig, Protocol::Moq).unwrap();
    assert_eq!((seen.p50, seen.max), (200 * MILLI, 200 * MILLI));
    assert_eq!((seen.sample_count, seen.total_observed), (1024, 1124));
    let total: u64 = rig.origin().latency_totals().iter().map(|totals| totals.histogram.count()).sum();
    assert_eq!(total, 1124);
}

#[tokio::test]
async fn every_viewer_counts_by_transport() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "live/cam").await;
    let video = track(&broadcast, "video");
    let (one, other) = (rig.session(Protocol::Moq, 2).await, rig.session(Protocol::Srt, 3).await);
    let mut readers = [reader(&one).await, reader(&one).await, reader(&other).await];
    for millis in 0..3 {
        deliver(&rig, &video, &mut readers, millis).await;
    }
    let entries: Vec<_> = rig.origin().latencies().iter().map(|e| (e.transport, e.total_observed)).collect();
    assert_eq!(entries, [(Protocol::Moq, 6), (Protocol::Srt, 3)]);
}

#[tokio::test]
async fn what_was_there_before_the_viewer_is_no_sample() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "live/cam").await;
    let video = track(&broadcast, "video");
    let mut group = video.append_group().unwrap();
    group.push(rig.frame(0, 10)).unwrap();
    let session = rig.session(Protocol::Moq, 2).await;
    let mut reader = reader(&session).await;
    let mut sink = Kept { now: Some(rig.start + Duration::from_secs(3)), ..Kept::unlimited() };
    let mut reading = reader.next_group().await.unwrap().unwrap();
    assert_eq!(reading.forward(&mut sink).await, Ok(Forwarded::Frames(1)));
    assert_eq!(entry(&rig, Protocol::Moq), None);
    group.push(rig.frame(2_990_000, 10)).unwrap();
    assert_eq!(reading.forward(&mut sink).await, Ok(Forwarded::Frames(1)));
    assert_eq!(entry(&rig, Protocol::Moq).unwrap().max, 10 * MILLI);
    // A fetch asks for the past.
    let watched = session.consumer().consume(&at("live/cam")).unwrap();
    let mut fetched = watched.fetch("video", 0).await.unwrap();
    assert_eq!(fetched.forward(&mut sink).await, Ok(Forwarded::Frames(2)));
    assert_eq!(entry(&rig, Protocol::Moq).unwrap().total_observed, 1);
}

#[tokio::test]
async fn entries_go_with_their_broadcast_and_their_sums_stay() {
    let rig = Rig::new();
    let (publisher, broadcast) = rig.publish(1, "live/cam").await;
    let video = track(&broadcast, "video");
    let session = rig.session(Protocol::Moq, 2).await;
    let mut readers = [reader(&session).await];
    deliver(&rig, &video, &mut readers, 7).await;
    let sum = |rig: &Rig| -> (u64, Duration) {
        let totals = rig.origin().latency_totals();
        let sum = totals.iter().map(|totals| totals.histogram.sum()).sum();
        (totals.iter().map(|totals| totals.histogram.count()).sum(), sum)
    };
    assert_eq!(sum(&rig), (1, 7 * MILLI));
    drop((video, broadcast, publisher));
    assert_eq!(rig.origin().latencies(), []);
    assert_eq!(sum(&rig), (1, 7 * MILLI));
    drop(readers);
    assert_eq!(sum(&rig), (1, 7 * MILLI));
    assert!(rig.origin().latency_totals().iter().all(|totals| totals.broadcast.is_none()));
}

#[tokio::test]
async fn objectives_count_what_they_cover() {
    let objectives = vec![
        objective("live/**", Some(Protocol::Moq), 5),
        objective("**", None, 20),
        objective("x/**", None, 1),
    ];
    let rig = Rig::with(OriginConfig { objectives, ..OriginConfig::default() }, OpenAdmission);
    let (publisher, broadcast) = rig.publish(1, "live/cam").await;
    let video = track(&broadcast, "video");
    let (one, other) = (rig.session(Protocol::Moq, 2).await, rig.session(Protocol::Srt, 3).await);
    let mut readers = [reader(&one).await, reader(&other).await];
    for millis in [1, 10, 30] {
        deliver(&rig, &video, &mut readers, millis).await;
    }
    let read = |rig: &Rig, millis| rig.origin().objectives(rig.start + MILLI * millis);
    let readings = read(&rig, 30);
    assert_eq!(readings[0].all, Observed { frames: 3, slow: 2 });
    assert_eq!(readings[0].each, [(at("live/cam"), Protocol::Moq, Observed { frames: 3, slow: 2 })]);
    assert_eq!(readings[1].all, Observed { frames: 6, slow: 2 });
    assert_eq!(readings[1].each.len(), 2);
    assert_eq!(readings[2].all, Observed::default());
    drop((readers, video, broadcast, publisher, one, other));
    let gone = read(&rig, 30);
    assert_eq!(gone[1].all, Observed { frames: 6, slow: 2 }, "what left within the window still counts");
    assert_eq!(gone[1].each, []);
    assert_eq!(read(&rig, 400_000)[1].all, Observed::default());
}

#[tokio::test]
async fn a_sink_without_a_clock_is_not_measured() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "live/cam").await;
    let video = track(&broadcast, "video");
    let session = rig.session(Protocol::Moq, 2).await;
    let watched = session.consumer().consume(&at("live/cam")).unwrap();
    let from = Subscription { start: Start::From(0), ..Subscription::default() };
    let mut reader = watched.subscribe("video", from).await.unwrap();
    let mut group = video.append_group().unwrap();
    group.push(rig.frame(0, 10)).unwrap();
    let mut reading = reader.next_group().await.unwrap().unwrap();
    assert_eq!(reading.forward(&mut Kept::unlimited()).await, Ok(Forwarded::Frames(1)));
    assert_eq!(rig.origin().latencies(), []);
    assert_eq!(rig.egress("live/cam").frames, 1);
}
