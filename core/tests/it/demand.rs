//! What readers want travels to the producer with the track.

use std::task::{Context, Poll, Waker};

use moqgate_core::{Protocol, Subscription};

use crate::rig::{Rig, at, track};

#[tokio::test]
async fn a_reader_that_comes_or_asks_is_heard_once() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let mut video = track(&broadcast, "video");
    let mut wanted = move || video.poll_keyframe_wanted(&mut Context::from_waker(Waker::noop()));
    assert_eq!(wanted(), Poll::Pending);

    let session = rig.session(Protocol::Webrtc, 2).await;
    let watched = session.consumer().consume(&at("cam")).expect("it is live");
    let reader = watched.subscribe("video", Subscription::default()).await.expect("a track");
    assert_eq!((wanted(), wanted()), (Poll::Ready(()), Poll::Pending), "it has come");
    reader.request_keyframe();
    reader.request_keyframe();
    assert_eq!((wanted(), wanted()), (Poll::Ready(()), Poll::Pending), "it has asked");
    drop(reader);
    assert_eq!(wanted(), Poll::Pending, "to leave is no wish");
}

#[tokio::test]
async fn a_producer_that_waits_is_woken_by_a_reader() {
    let rig = Rig::new();
    let (_session, broadcast) = rig.publish(1, "cam").await;
    let mut video = track(&broadcast, "video");
    let session = rig.session(Protocol::Webrtc, 2).await;
    let watched = session.consumer().consume(&at("cam")).expect("it is live");
    let wanted = std::future::poll_fn(|cx| video.poll_keyframe_wanted(cx));
    let ((), reader) = tokio::join!(wanted, watched.subscribe("video", Subscription::default()));
    assert!(reader.is_ok());
}
