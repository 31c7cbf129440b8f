//! Players and publishers that come and go.

use std::time::Duration;

use moqgate_mux::event::VideoCodec;
use moqgate_webrtc::Config;
use moqgate_webrtc::metrics::Kind;

use crate::rig::Rig;
use crate::viewer::{LIMIT, Seen, Source, Viewer};

const PATH: &str = "live/cam0";

fn has(letter: u8, pictures: usize) -> impl Fn(&[Seen]) -> bool {
    move |seen| seen.iter().filter(|packet| packet.frame[0] == letter).count() >= pictures
}

async fn ended(rig: &Rig) {
    let gone = async {
        while rig.metrics.live(Kind::Whep) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("the session ends");
}

/// Sequence numbers without a gap, and times that only grow, whatever the publishers' clocks show.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_goes_on_with_the_next_publisher_in_the_same_stream() {
    let rig = Rig::start(Config { play_wait: LIMIT, ..Config::default() });
    let mut first = Source::publish(&rig, PATH, VideoCodec::Vp8);
    first.push(Duration::from_secs(5000), b'a', 20);
    let viewer = Viewer::watch(&rig, PATH).await;
    viewer.until(has(b'a', 20)).await;
    first.finish();
    let mut second = Source::publish(&rig, PATH, VideoCodec::Vp8);
    second.push(Duration::from_secs(3), b'b', 10);
    let seen = viewer.until(has(b'b', 10)).await;
    let b = seen.iter().position(|packet| packet.frame[0] == b'b').expect("it came");
    assert_eq!(seen[b].frame, [b'b', 0], "it begins with a keyframe");
    for pair in seen.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1), "{seen:?}");
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        assert!((1..90_000 * 60).contains(&step), "{step}: {seen:?}");
    }
    assert_eq!(rig.metrics.live(Kind::Whep), 1);
    // Nobody agreed on VP9, which a player has to be told by ending its session.
    second.finish();
    let mut third = Source::publish(&rig, PATH, VideoCodec::Vp9);
    third.push(Duration::ZERO, b'c', 5);
    ended(&rig).await;
    let seen = viewer.until(|_| true).await;
    assert!(seen.iter().all(|packet| packet.frame[0] != b'c'), "{seen:?}");
    viewer.close().await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_that_is_not_to_wait_ends_with_its_publisher() {
    let rig = Rig::start(Config { play_wait: Duration::ZERO, ..Config::default() });
    let mut source = Source::publish(&rig, PATH, VideoCodec::Vp8);
    source.push(Duration::ZERO, b'a', 5);
    let viewer = Viewer::watch(&rig, PATH).await;
    viewer.until(has(b'a', 5)).await;
    source.finish();
    ended(&rig).await;
    viewer.close().await;
    rig.stop().await;
}

/// A publisher that ends its picture and sends another one in the same broadcast: the stream goes on, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_goes_on_with_another_track_of_the_broadcast() {
    let rig = Rig::start(Config::default());
    let mut source = Source::publish(&rig, PATH, VideoCodec::Vp8);
    source.push(Duration::from_secs(1), b'a', 5);
    let viewer = Viewer::watch(&rig, PATH).await;
    viewer.until(has(b'a', 5)).await;
    source.add(1, VideoCodec::Vp8);
    source.end(0);
    let mut second = 2;
    let pushing = async {
        loop {
            source.push_to(1, Duration::from_secs(second), b'b', 5);
            second += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let seen = tokio::select! {
        seen = viewer.until(has(b'b', 5)) => seen,
        () = pushing => unreachable!("it pushes on"),
    };
    for pair in seen.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1), "{seen:?}");
        assert!(pair[1].timestamp.wrapping_sub(pair[0].timestamp) < 1 << 31, "{seen:?}");
    }
    viewer.close().await;
    rig.stop().await;
}
