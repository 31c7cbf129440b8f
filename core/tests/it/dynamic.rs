//! Broadcasts whose tracks are fetched when somebody asks.

use std::time::Duration;

use moqgate_core::{Protocol, PublishOptions, Start, Subscription, TrackError};

use crate::rig::{Rig, at, info};

#[tokio::test]
async fn a_reader_waits_for_the_publishers_answer() {
    let rig = Rig::new();
    let session = rig.session(Protocol::Moq, 1).await;
    let options = PublishOptions { dynamic: true, ..PublishOptions::default() };
    let broadcast = session.publisher().publish(&at("cam"), options, rig.start).unwrap();
    let viewer = rig.session(Protocol::Moq, 2).await;
    let watched = viewer.consumer().consume(&at("cam")).unwrap();
    let serve = async {
        let request = broadcast.requested_track().await.unwrap();
        assert_eq!(&**request.name(), "video");
        let mut track = request.accept(info("ignored")).unwrap();
        let asked = track.subscription_changed().await.unwrap();
        let refused = broadcast.requested_track().await.unwrap();
        refused.reject(TrackError::Unroutable);
        drop(broadcast.requested_track().await.unwrap());
        (track, asked)
    };
    let watch = async {
        let subscription = Subscription { start: Start::From(3), priority: 9, ..Subscription::default() };
        let reader = watched.subscribe("video", subscription).await.unwrap();
        assert_eq!(&*reader.info().name, "video");
        assert_eq!(watched.track_info("audio").await.unwrap_err(), TrackError::Unroutable);
        assert_eq!(watched.track_info("audio").await.unwrap_err(), TrackError::NotFound, "asked anew");
        reader
    };
    let ((mut track, asked), reader) = tokio::join!(serve, watch);
    assert_eq!((asked.priority, asked.start), (9, Start::From(3)));
    let mut second = watched.subscribe("video", Subscription::default()).await.unwrap();
    assert_eq!(track.subscription_changed().await.unwrap().start, Start::Latest);
    second.update(Subscription { max_age: Duration::from_secs(1), ..Subscription::default() });
    assert_eq!(track.subscription_changed().await.unwrap().max_age, Duration::from_secs(1));
    drop((reader, second));
    assert_eq!(track.subscription_changed().await, None, "nobody reads any more");
}

#[tokio::test]
async fn a_failed_track_is_asked_for_again() {
    let rig = Rig::new();
    let session = rig.session(Protocol::Moq, 1).await;
    let options = PublishOptions { dynamic: true, ..PublishOptions::default() };
    let broadcast = session.publisher().publish(&at("cam"), options, rig.start).unwrap();
    let viewer = rig.session(Protocol::Moq, 2).await;
    let watched = viewer.consumer().consume(&at("cam")).unwrap();
    for _ in 0..3 {
        let (answered, _info) = tokio::join!(
            async { broadcast.requested_track().await.unwrap().accept(info("video")).unwrap() },
            async { watched.track_info("video").await.unwrap() }
        );
        drop(answered);
    }
    let asking = watched.track_info("video");
    let ending = async { drop(broadcast) };
    let (answer, ()) = tokio::join!(asking, ending);
    assert_eq!(answer.unwrap_err(), TrackError::Closed);
}
