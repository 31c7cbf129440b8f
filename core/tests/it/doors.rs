//! The two doors: what passes them is charged, once, and nothing else is.

use std::{
    task::{Context, Waker},
    time::Duration,
};

use moqgate_core::{ForwardError, Forwarded, Protocol, PushError, StreamCode, Subscription, TrackError};

use crate::rig::{Kept, Rig, at, track};

#[tokio::test]
async fn a_frame_is_charged_once_in_and_once_per_viewer() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "live/cam0").await;
    let video = track(&broadcast, "video");
    let mut group = video.append_group().unwrap();
    group.push(rig.frame(0, 100)).unwrap();
    group.push(rig.frame(40_000, 50)).unwrap();
    group.finish();
    assert_eq!((rig.ingress("live/cam0").groups, rig.ingress("live/cam0").frames), (1, 2));
    assert_eq!(rig.ingress("live/cam0").bytes, 150);

    for viewer in 1..=2 {
        let session = rig.session(Protocol::Moq, 10 + viewer).await;
        let watched = session.consumer().consume(&at("live/cam0")).unwrap();
        let mut reader = watched.subscribe("video", Subscription::default()).await.unwrap();
        let mut group = reader.next_group().await.unwrap().unwrap();
        let mut sink = Kept::unlimited();
        assert_eq!(group.forward(&mut sink).await, Ok(Forwarded::Frames(2)));
        assert_eq!(group.forward(&mut sink).await, Ok(Forwarded::End));
        assert_eq!(sink.bytes(), 150);
        let egress = rig.egress("live/cam0");
        assert_eq!(
            (egress.groups, egress.frames, egress.bytes),
            (u64::from(viewer), 2 * u64::from(viewer), 150 * u64::from(viewer))
        );
    }
    assert_eq!(rig.ingress("live/cam0").bytes, 150, "viewers cost the publisher nothing");
}

#[tokio::test]
async fn what_the_sink_has_no_room_for_is_not_charged() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    let mut group = video.append_group().unwrap();
    for index in 0..5 {
        group.push(rig.frame(index, 10)).unwrap();
    }
    let session = rig.session(Protocol::Moq, 2).await;
    let watched = session.consumer().consume(&at("cam")).unwrap();
    let mut reader = watched.subscribe("video", Subscription::default()).await.unwrap();
    let mut reading = reader.next_group().await.unwrap().unwrap();
    let mut sink = Kept::with_credit(3);
    assert_eq!(reading.forward(&mut sink).await, Ok(Forwarded::Frames(3)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(reading.poll_forward(&mut cx, &mut sink).is_pending());
    assert_eq!(rig.egress("cam").bytes, 30);
    sink.credit = 2;
    assert_eq!(reading.forward(&mut sink).await, Ok(Forwarded::Frames(2)));
    assert_eq!((rig.egress("cam").bytes, rig.egress("cam").groups), (50, 1));
}

#[tokio::test]
async fn a_refused_frame_is_not_charged() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    let mut group = video.append_group().unwrap();
    group.push(rig.frame(0, 0)).unwrap();
    let session = rig.session(Protocol::Moq, 2).await;
    let watched = session.consumer().consume(&at("cam")).unwrap();
    let mut reader = watched.subscribe("video", Subscription::default()).await.unwrap();
    let mut reading = reader.next_group().await.unwrap().unwrap();
    assert_eq!(reading.forward(&mut Kept::unlimited()).await, Err(ForwardError::Sink("empty")));
    assert_eq!((rig.egress("cam").frames, rig.egress("cam").groups), (0, 0));
}

#[tokio::test]
async fn a_cancelled_forward_neither_loses_nor_doubles() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    let mut group = video.append_group().unwrap();
    let session = rig.session(Protocol::Moq, 2).await;
    let watched = session.consumer().consume(&at("cam")).unwrap();
    let mut reader = watched.subscribe("video", Subscription::default()).await.unwrap();
    let mut reading = reader.next_group().await.unwrap().unwrap();
    let mut sink = Kept::unlimited();
    for index in 0..20_u64 {
        let waiting = tokio::time::timeout(Duration::ZERO, reading.forward(&mut sink)).await;
        assert!(waiting.is_err(), "nothing is there yet");
        group.push(rig.frame(index, 1)).unwrap();
        assert_eq!(reading.forward(&mut sink).await, Ok(Forwarded::Frames(1)));
    }
    group.finish();
    assert_eq!(reading.forward(&mut sink).await, Ok(Forwarded::End));
    assert_eq!(sink.frames.len() as u64, rig.egress("cam").frames);
    assert_eq!(rig.egress("cam").frames, 20);
}

#[tokio::test]
async fn a_fetch_bumps_frames_bytes_and_fetches_but_no_group() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    for _ in 0..3 {
        let mut group = video.append_group().unwrap();
        group.push(rig.frame(0, 10)).unwrap();
        group.push(rig.frame(1, 10)).unwrap();
        group.finish();
    }
    let session = rig.session(Protocol::Moq, 2).await;
    let watched = session.consumer().consume(&at("cam")).unwrap();
    let mut fetched = watched.fetch("video", 1).await.unwrap();
    fetched.skip_to(1);
    let mut sink = Kept::unlimited();
    assert_eq!(fetched.forward(&mut sink).await, Ok(Forwarded::Frames(1)));
    assert_eq!(fetched.forward(&mut sink).await, Ok(Forwarded::End));
    let egress = rig.egress("cam");
    assert_eq!((egress.groups, egress.frames, egress.bytes, egress.fetches), (0, 1, 10, 1));
    assert_eq!(egress.active.opened, 0, "a fetch is no viewer");
    assert!(matches!(watched.fetch("video", 9).await, Err(TrackError::NotFound)));
    assert_eq!(rig.egress("cam").fetches, 1, "a fetch that found nothing costs nothing");
}

#[tokio::test]
async fn a_datagram_is_a_group_and_is_broken_out() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let data = track(&broadcast, "data");
    let mut group = data.create_datagram(7).unwrap();
    group.push(rig.frame(0, 10)).unwrap();
    group.finish();
    let ingress = rig.ingress("cam");
    assert_eq!((ingress.groups, ingress.frames, ingress.bytes, ingress.datagrams), (1, 1, 10, 1));
}

#[tokio::test]
async fn limits_refuse_and_do_not_charge() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    let mut group = video.append_group().unwrap();
    assert_eq!(group.push(rig.frame(0, (32 << 20) + 1)), Err(PushError::FrameTooLarge));
    for index in 0..8192 {
        group.push(rig.frame(index, 1)).unwrap();
    }
    assert_eq!(group.push(rig.frame(0, 1)), Err(PushError::GroupFull));
    assert_eq!(rig.ingress("cam").frames, 8192);
    let mut group = video.append_group().unwrap();
    group.push(rig.frame(0, 32 << 20)).unwrap();
    assert_eq!(group.push(rig.frame(0, 1)), Err(PushError::GroupFull));
}

#[tokio::test]
async fn a_group_that_is_dropped_is_aborted_for_its_readers() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    let mut group = video.append_group().unwrap();
    group.push(rig.frame(0, 1)).unwrap();
    let session = rig.session(Protocol::Moq, 2).await;
    let watched = session.consumer().consume(&at("cam")).unwrap();
    let mut reader = watched.subscribe("video", Subscription::default()).await.unwrap();
    let mut reading = reader.next_group().await.unwrap().unwrap();
    drop(group);
    let mut sink = Kept::unlimited();
    assert_eq!(reading.forward(&mut sink).await, Ok(Forwarded::Frames(1)));
    assert_eq!(reading.forward(&mut sink).await, Err(ForwardError::Aborted(StreamCode::CANCELLED)));
}
