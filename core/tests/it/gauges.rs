//! Who watches and who publishes.

use std::sync::Arc;

use moqgate_core::{Protocol, Subscription, usage::GaugeTotals};

use crate::rig::{Rig, at, track};

const fn gauge(opened: u64, closed: u64) -> GaugeTotals {
    GaugeTotals { opened, closed }
}

#[tokio::test]
async fn listed_is_not_watched() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let _video = track(&broadcast, "video");
    let session = rig.session(Protocol::Moq, 2).await;
    let watched = session.consumer().consume(&at("cam")).unwrap();
    let egress = rig.egress("cam");
    assert_eq!((egress.announced, egress.active), (gauge(1, 0), gauge(0, 0)));
    assert_eq!(broadcast.viewers(), 0);
    drop(watched);
    assert_eq!(rig.egress("cam").announced, gauge(1, 1));
}

#[tokio::test]
async fn a_session_is_one_viewer_however_many_tracks_and_handles() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let (_video, _audio) = (track(&broadcast, "video"), track(&broadcast, "audio"));
    let session = rig.session(Protocol::Moq, 2).await;
    let first = session.consumer().consume(&at("cam")).unwrap();
    let again = session.consumer().consume(&at("cam")).unwrap();
    assert!(Arc::ptr_eq(first.info(), again.info()));
    let video = first.subscribe("video", Subscription::default()).await.unwrap();
    let audio = again.subscribe("audio", Subscription::default()).await.unwrap();
    let egress = rig.egress("cam");
    assert_eq!((egress.active, egress.subscriptions), (gauge(1, 0), gauge(2, 0)));
    assert_eq!(broadcast.viewers(), 1);
    drop(video);
    assert_eq!(rig.egress("cam").active, gauge(1, 0));
    drop(audio);
    assert_eq!((rig.egress("cam").active, broadcast.viewers()), (gauge(1, 1), 0));
    let other = rig.session(Protocol::Moq, 3).await;
    let watched = other.consumer().consume(&at("cam")).unwrap();
    let _reader = watched.subscribe("video", Subscription::default()).await.unwrap();
    assert_eq!((rig.egress("cam").active, broadcast.viewers()), (gauge(2, 1), 1));
}

#[tokio::test]
async fn every_gauge_closes_with_its_publisher() {
    let rig = Rig::new();
    let (session, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    let mut group = video.append_group().unwrap();
    group.push(rig.frame(0, 10)).unwrap();
    let ingress = rig.ingress("cam");
    assert_eq!(
        (ingress.announced, ingress.active, ingress.subscriptions),
        (gauge(1, 0), gauge(1, 0), gauge(1, 0))
    );
    drop(broadcast);
    assert_eq!(
        rig.ingress("cam").announced,
        gauge(1, 1),
        "a lingering group does not keep the broadcast listed"
    );
    drop((video, group, session));
    let ingress = rig.ingress("cam");
    assert_eq!(
        (ingress.announced, ingress.active, ingress.subscriptions),
        (gauge(1, 1), gauge(1, 1), gauge(1, 1))
    );
    assert_eq!(ingress.bytes, 10, "what a meter counted outlives it");
    let sessions = rig.origin().usage(None).sessions;
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].sessions, gauge(1, 1));
    assert!(rig.origin().sessions().is_empty());
}

#[tokio::test]
async fn a_row_is_pruned_only_when_nobody_can_write_to_it_and_comes_back_as_another_segment() {
    let rig = Rig::new();
    let (session, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    video.append_group().unwrap().push(rig.frame(0, 10)).unwrap();
    assert!(rig.origin().prune_usage(|_| true).is_empty(), "a live meter keeps its row");
    drop((video, broadcast, session));
    assert!(rig.origin().prune_usage(|_| false).is_empty());
    let gone = rig.origin().prune_usage(|_| true);
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].ingress.bytes, 10);
    assert!(rig.row("cam", Protocol::Srt).is_none());
    let (_session, _broadcast) = rig.publish(1, "cam").await;
    let row = rig.row("cam", Protocol::Srt).unwrap();
    assert_eq!(row.ingress.bytes, 0);
    assert!(row.segment > gone[0].segment);
}

#[tokio::test]
async fn the_audience_includes_viewers_behind_relays() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let (_video, _audio) = (track(&broadcast, "video"), track(&broadcast, "audio"));
    let (leaf, relay) = (rig.session(Protocol::Srt, 2).await, rig.session(Protocol::Moq, 3).await);
    let weight = |downstream| Subscription { downstream, ..Subscription::default() };
    let leaf = leaf.consumer().consume(&at("cam")).unwrap();
    let relay = relay.consumer().consume(&at("cam")).unwrap();
    let leaf = leaf.subscribe("video", weight(1)).await.unwrap();
    let mut video = relay.subscribe("video", weight(3)).await.unwrap();
    let audio = relay.subscribe("audio", weight(5)).await.unwrap();
    assert_eq!(broadcast.viewers(), 6, "a relay's tracks are watched by the same people");
    assert_eq!(rig.origin().broadcasts()[0].viewers, 6);
    video.update(weight(9));
    assert_eq!(broadcast.viewers(), 10);
    drop(video);
    assert_eq!(broadcast.viewers(), 6);
    drop(audio);
    assert_eq!(broadcast.viewers(), 1);
    let held = relay.subscribe("video", weight(0)).await.unwrap();
    assert_eq!(broadcast.viewers(), 1, "nobody is behind a subscription that is only held");
    drop((held, leaf));
    assert_eq!(broadcast.viewers(), 0);
}

#[tokio::test]
async fn another_viewer_is_no_other_demand_unless_that_is_asked_for() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let mut video = track(&broadcast, "video");
    let session = rig.session(Protocol::Moq, 2).await;
    let watched = session.consumer().consume(&at("cam")).unwrap();
    let first = watched.subscribe("video", Subscription::default()).await.unwrap();
    assert_eq!(video.subscription_changed().await.unwrap().downstream, 1);
    let second = watched.subscribe("video", Subscription::default()).await.unwrap();
    let nothing = tokio::time::timeout(std::time::Duration::ZERO, video.subscription_changed()).await;
    assert!(nothing.is_err(), "the second viewer wants the same");
    assert_eq!(video.demand_changed(Some(1)).await.unwrap().downstream, 2);
    let nothing = tokio::time::timeout(std::time::Duration::ZERO, video.demand_changed(Some(2))).await;
    assert!(nothing.is_err(), "that was told");
    drop(second);
    assert_eq!(video.demand_changed(Some(2)).await.unwrap().downstream, 1);
    drop(first);
    assert_eq!(video.demand_changed(Some(1)).await, None);
}
