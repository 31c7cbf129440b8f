//! What a session is told of the directory.

use moqgate_core::{Announcement, Cost, Protocol, PublishOptions, TrackError};

use crate::rig::{Rig, at, track};

fn show(announcement: &Announcement) -> String {
    match announcement {
        Announcement::Started(broadcast) => format!("+{}", broadcast.info().path()),
        Announcement::Rerouted(broadcast) => {
            format!("~{} {:?}", broadcast.info().path(), broadcast.route().hops)
        }
        Announcement::Ended(path) => format!("-{path}"),
    }
}

#[tokio::test]
async fn the_initial_set_comes_first_and_changes_follow() {
    let rig = Rig::new();
    let (_one, cam0) = rig.publish(1, "live/cam0").await;
    let (_two, _other) = rig.publish(2, "liver/cam").await;
    let session = rig.session(Protocol::Moq, 3).await;
    let mut announcements = session.consumer().announced(&at("live"));
    assert_eq!(announcements.try_next().as_ref().map(show).as_deref(), Some("+live/cam0"));
    assert!(announcements.try_next().is_none());
    let (_three, cam1) = rig.publish(4, "live/cam1").await;
    assert_eq!(show(&announcements.next().await), "+live/cam1");
    cam1.update_route(vec![7, 8], Cost { warm: 1, cold: 2 });
    assert_eq!(show(&announcements.next().await), "~live/cam1 [7, 8]");
    drop(cam0);
    assert_eq!(show(&announcements.next().await), "-live/cam0");
}

#[tokio::test]
async fn a_broadcast_that_came_back_is_told_as_an_end_and_a_start() {
    let rig = Rig::new();
    let (session, broadcast) = rig.publish(1, "cam").await;
    let viewer = rig.session(Protocol::Moq, 2).await;
    let mut announcements = viewer.consumer().announced(&at(""));
    assert_eq!(show(&announcements.next().await), "+cam");
    drop(broadcast);
    let _again = session.publisher().publish(&at("cam"), PublishOptions::default(), rig.start).unwrap();
    assert_eq!(show(&announcements.next().await), "-cam");
    assert_eq!(show(&announcements.next().await), "+cam");
    assert!(announcements.try_next().is_none());
}

#[tokio::test]
async fn what_came_and_went_unseen_is_not_told() {
    let rig = Rig::new();
    let viewer = rig.session(Protocol::Moq, 2).await;
    let mut announcements = viewer.consumer().announced(&at(""));
    for _ in 0..100 {
        drop(rig.publish(1, "cam").await);
    }
    assert!(announcements.try_next().is_none());
}

#[tokio::test]
async fn who_waits_for_a_path_gets_exactly_that_one() {
    let rig = Rig::new();
    let viewer = rig.session(Protocol::Moq, 2).await;
    let consumer = viewer.consumer();
    let path = at("live");
    let waiting = consumer.wait(&path);
    let publishing = async {
        let below = rig.publish(1, "live/cam0").await;
        tokio::task::yield_now().await;
        (below, rig.publish(3, "live").await)
    };
    let (found, _held) = tokio::join!(waiting, publishing);
    assert_eq!(found.unwrap().info().path(), &at("live"));
}

#[tokio::test]
async fn a_reader_that_is_faster_than_the_publisher_waits_for_its_first_track() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let viewer = rig.session(Protocol::Moq, 2).await;
    let watched = viewer.consumer().consume(&at("cam")).unwrap();
    let publishing = async {
        tokio::task::yield_now().await;
        track(&broadcast, "catalog.json")
    };
    let (found, missing, _catalog) =
        tokio::join!(watched.track_info("catalog.json"), watched.track_info("nothing"), publishing);
    assert_eq!(&*found.unwrap().name, "catalog.json");
    assert_eq!(missing.unwrap_err(), TrackError::NotFound);
}
