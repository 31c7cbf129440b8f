//! What a late reader finds, and what memory is let go.

use std::time::Duration;

use moqgate_core::{
    CreateGroupError, ForwardError, OpenAdmission, OriginConfig, Protocol, Start, StreamCode, Subscription,
    TrackError,
};

use crate::rig::{Kept, Rig, at, track};

fn small() -> Rig {
    let config = OriginConfig {
        retention_age: Duration::from_secs(4),
        retention_bytes: 1400,
        ..OriginConfig::default()
    };
    Rig::with(config, OpenAdmission)
}

/// The sequences that a new reader with this start is given at once.
async fn sequences(rig: &Rig, start: Start, max_age: Duration) -> Vec<u64> {
    let session = rig.session(Protocol::Moq, 9).await;
    let watched = session.consumer().consume(&at("cam")).unwrap();
    let subscription = Subscription { start, max_age, ..Subscription::default() };
    let mut reader = watched.subscribe("video", subscription).await.unwrap();
    let mut found = Vec::new();
    while let Ok(next) = tokio::time::timeout(Duration::ZERO, reader.next_group()).await {
        found.push(next.unwrap().unwrap().sequence());
    }
    found
}

#[tokio::test]
async fn a_late_reader_starts_where_it_asks() {
    let rig = small();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    for second in 0..10_u64 {
        let mut group = video.append_group().unwrap();
        group.push(rig.frame(second * 1_000_000, 10)).unwrap();
        group.finish();
    }
    assert_eq!(sequences(&rig, Start::Latest, Duration::ZERO).await, [9]);
    assert_eq!(sequences(&rig, Start::From(7), Duration::ZERO).await, [7, 8, 9]);
    assert_eq!(
        sequences(&rig, Start::From(0), Duration::ZERO).await,
        [4, 5, 6, 7, 8, 9],
        "four seconds are retained, and the group that the last eviction saw in time"
    );
    assert_eq!(sequences(&rig, Start::WithinAge, Duration::from_secs(2)).await, [7, 8, 9]);
    assert_eq!(sequences(&rig, Start::WithinAge, Duration::ZERO).await, [9]);
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_so_and_goes_on() {
    let rig = small();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    let push = |bytes| {
        let mut group = video.append_group().unwrap();
        group.push(rig.frame(0, bytes)).unwrap();
        group.finish();
    };
    push(600);
    let session = rig.session(Protocol::Moq, 9).await;
    let watched = session.consumer().consume(&at("cam")).unwrap();
    let mut reader = watched.subscribe("video", Subscription::default()).await.unwrap();
    let mut slow = reader.next_group().await.unwrap().unwrap();
    for _ in 0..4 {
        push(600);
    }
    assert_eq!(slow.forward(&mut Kept::unlimited()).await, Err(ForwardError::Aborted(StreamCode::EVICTED)));
    let next = reader.next_group().await.unwrap().unwrap();
    assert_eq!(next.sequence(), 3, "the oldest that is retained");
}

#[tokio::test]
async fn groups_that_grow_out_of_order_stay_within_the_bound() {
    let rig = small();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    let _newest = video.create_group(10_000).unwrap();
    let mut older: Vec<_> = (0..4).map(|sequence| video.create_group(sequence).unwrap()).collect();
    let mut refused = 0;
    for group in &mut older {
        for index in 0..20 {
            refused += usize::from(group.push(rig.frame(index, 1 << 20)).is_err());
        }
    }
    assert!(refused > 0, "an evicted group takes nothing more");
    let late = (5..6_000).find_map(|sequence| video.create_group(sequence).err());
    assert_eq!(late, Some(CreateGroupError::Late), "the newest stands in front, so nothing can be evicted");
    assert_eq!(video.create_group(10_000).unwrap_err(), CreateGroupError::Duplicate);
    assert_eq!(video.create_group(u64::MAX).unwrap_err(), CreateGroupError::Range);
}

#[tokio::test]
async fn empty_frames_are_not_free() {
    let rig = small();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    for _ in 0..3 {
        let mut group = video.append_group().unwrap();
        for _ in 0..100 {
            group.push(rig.frame(0, 0)).unwrap();
        }
        group.finish();
    }
    assert_eq!(sequences(&rig, Start::From(0), Duration::ZERO).await, [2]);
}

#[tokio::test]
async fn the_end_of_a_track_is_told_after_its_last_group() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let (video, audio) = (track(&broadcast, "video"), track(&broadcast, "audio"));
    let session = rig.session(Protocol::Moq, 9).await;
    let watched = session.consumer().consume(&at("cam")).unwrap();
    let mut reader = watched.subscribe("video", Subscription::default()).await.unwrap();
    let mut other = watched.subscribe("audio", Subscription::default()).await.unwrap();
    video.append_group().unwrap().finish();
    video.finish();
    assert_eq!(reader.next_group().await.unwrap().unwrap().sequence(), 0);
    assert!(reader.next_group().await.unwrap().is_none());
    assert_eq!(reader.end_sequence(), Some(1));
    drop(audio);
    assert_eq!(other.next_group().await.unwrap_err(), TrackError::Aborted);
    assert_eq!(watched.track_info("nothing").await.unwrap_err(), TrackError::NotFound);
    drop(broadcast);
    watched.closed().await;
    assert_eq!(watched.track_info("video").await.unwrap_err(), TrackError::Closed);
}

#[tokio::test]
async fn a_range_ends_cleanly_once_it_has_passed() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    let session = rig.session(Protocol::Moq, 9).await;
    let watched = session.consumer().consume(&at("cam")).unwrap();
    let subscription = Subscription { start: Start::From(1), end: Some(2), ..Subscription::default() };
    let mut reader = watched.subscribe("video", subscription).await.unwrap();
    let mut found = Vec::new();
    for _ in 0..5 {
        video.append_group().unwrap().finish();
    }
    while let Some(group) = reader.next_group().await.unwrap() {
        found.push(group.sequence());
    }
    assert_eq!(found, [1, 2]);
}
