//! One path, one publisher.

use std::time::Duration;

use moqgate_core::{
    Credential, KillReason, OriginConfig, Protocol, PublishError, PublishOptions, PushError, Secret,
    Subscription,
};

use crate::rig::{Keys, Rig, at, track};

fn key(text: &str) -> Credential {
    Credential::Token(Secret::new(text))
}

#[tokio::test]
async fn a_path_has_one_publisher_and_is_free_again_when_it_goes() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let other = rig.session(Protocol::Moq, 2).await;
    let claim = |now| other.publisher().publish(&at("cam"), PublishOptions::default(), now);
    assert_eq!(claim(rig.start + Duration::from_secs(60)).unwrap_err(), PublishError::Busy);
    drop(broadcast);
    assert!(claim(rig.start).is_ok());
}

#[tokio::test]
async fn an_anonymous_publisher_takes_over_only_its_silent_ghost() {
    let rig = Rig::new();
    let (session, broadcast) = rig.publish(1, "cam").await;
    let video = track(&broadcast, "video");
    let mut group = video.append_group().unwrap();
    group.push(rig.frame(5_000_000, 10)).unwrap();
    let again = rig.session(Protocol::Srt, 1).await;
    let claim = |millis| {
        again.publisher().publish(
            &at("cam"),
            PublishOptions::default(),
            rig.start + Duration::from_millis(millis),
        )
    };
    assert_eq!(claim(5_900).unwrap_err(), PublishError::Busy);
    let taken = claim(6_000).unwrap();
    assert_eq!(session.killed().await, KillReason::TakenOver);
    assert!(broadcast.is_revoked());
    assert_eq!(group.push(rig.frame(0, 10)), Err(PushError::Closed));
    drop((group, video, broadcast, session));
    assert_eq!(rig.origin().broadcasts().len(), 1, "the ghost's drop does not take the new broadcast out");
    let row = rig.ingress("cam");
    assert_eq!((row.announced.opened, row.announced.closed), (2, 1));
    drop(taken);
}

#[tokio::test]
async fn the_same_credential_takes_over_at_once_and_another_never() {
    let rig = Rig::with(OriginConfig::default(), Keys);
    let first = rig.session_as(Protocol::Srt, 1, key("a")).await;
    let held = first.publisher().publish(&at("live/cam"), PublishOptions::default(), rig.start).unwrap();
    let thief = rig.session_as(Protocol::Srt, 1, key("b")).await;
    let claim = thief.publisher().publish(
        &at("live/cam"),
        PublishOptions::default(),
        rig.start + Duration::from_secs(9),
    );
    assert_eq!(claim.unwrap_err(), PublishError::Busy);
    let back = rig.session_as(Protocol::Srt, 9, key("a")).await;
    let _taken = back.publisher().publish(&at("live/cam"), PublishOptions::default(), rig.start).unwrap();
    assert!(held.is_revoked());
    assert_eq!(first.killed().await, KillReason::TakenOver);
}

#[tokio::test]
async fn a_session_stays_within_its_grant() {
    let rig = Rig::with(OriginConfig::default(), Keys);
    let (_anyone, _broadcast) = rig.publish(1, "other/cam").await;
    let session = rig.session_as(Protocol::Moq, 2, key("a")).await;
    let outside = session.publisher().publish(&at("mine"), PublishOptions::default(), rig.start);
    assert_eq!(outside.unwrap_err(), PublishError::Forbidden);
    assert!(session.consumer().consume(&at("other/cam")).is_none());
    assert!(session.consumer().announced(&at("")).try_next().is_none());
}

#[tokio::test]
async fn two_tiers_charge_two_rows() {
    let rig = Rig::with(OriginConfig::default(), Keys);
    let (_session, broadcast) = rig.publish(1, "live/cam").await;
    let video = track(&broadcast, "video");
    let mut group = video.append_group().unwrap();
    group.push(rig.frame(0, 10)).unwrap();
    for tier in ["a", "b"] {
        let session = rig.session_as(Protocol::Moq, 2, key(tier)).await;
        let watched = session.consumer().consume(&at("live/cam")).unwrap();
        let mut reader = watched.subscribe("video", Subscription::default()).await.unwrap();
        let mut sink = crate::rig::Kept::unlimited();
        reader.next_group().await.unwrap().unwrap().forward(&mut sink).await.unwrap();
        assert_eq!(rig.row_in("live/cam", Protocol::Moq, tier).unwrap().egress.bytes, 10);
    }
}
