//! What a player meets, message by message.

use std::time::Duration;

use moqgate_core::{Direction, KillReason, OpenAdmission};
use moqgate_rtmp::Config;
use moqgate_rtmp::proto::amf0::Value;
use moqgate_rtmp::proto::message::kind;

use crate::bench::Bench;
use crate::publish::{AAC_CONFIG, AAC_FRAME};

#[tokio::test]
async fn what_nobody_publishes_is_not_found() {
    let bench = Bench::with(Config { play_wait: Duration::ZERO, ..Config::default() }, OpenAdmission);
    let mut client = bench.client().await;
    assert_eq!(client.ask("play", "live", "cam0").await, "NetStream.Play.StreamNotFound");
    assert!(client.message().await.is_none());
    assert_eq!(bench.sample("moqgate_rtmp_refused_total", "not_found"), 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_player_that_comes_first_gets_every_frame_and_is_charged_for_it() {
    let bench = Bench::start();
    let mut player = bench.client().await;
    let (mut publisher, code) = tokio::join!(
        async {
            bench.until("the player waits", |bench| bench.session("live/cam0").is_some()).await;
            let mut publisher = bench.client().await;
            assert_eq!(publisher.publish("live", "cam0").await, "NetStream.Publish.Start");
            publisher.send(kind::AUDIO, 1, 0, AAC_CONFIG).await;
            publisher.send(kind::AUDIO, 1, 1000, AAC_FRAME).await;
            publisher
        },
        player.ask("play", "live", "cam0"),
    );
    assert_eq!(code, "NetStream.Play.Reset");
    bench.until("a viewer", |bench| bench.broadcast("live/cam0").is_some_and(|live| live.viewers == 1)).await;
    for frame in 1..100u32 {
        publisher.send(kind::AUDIO, 1, 1000 + frame * 64 / 3, AAC_FRAME).await;
    }
    publisher.command("deleteStream", 0.0, 0, vec![Value::Null, Value::Number(1.0)]).await;
    let (mut kinds, mut frames, mut last) = (Vec::new(), 0, 0);
    while let Some(message) = player.message().await {
        if message.kind == kind::AUDIO && message.body[1] == 1 {
            assert_eq!(message.body, AAC_FRAME);
            assert!(frames == 0 || (20..=22).contains(&(message.timestamp - last)), "{}", message.timestamp);
            (frames, last) = (frames + 1, message.timestamp);
        } else {
            kinds.push(message.kind);
        }
    }
    assert_eq!(frames, 100);
    // The status, the metadata, the configuration; at the end the status and the end of the stream.
    let expected = [kind::COMMAND, kind::DATA, kind::AUDIO, kind::COMMAND, kind::USER_CONTROL];
    assert_eq!(kinds, expected);
    let ingress = bench.ingress("live/cam0");
    let egress = bench.egress("live/cam0");
    assert_eq!((egress.frames, egress.bytes), (ingress.frames, ingress.bytes));
    bench.until("nobody watches", |bench| bench.egress("live/cam0").active.closed == 1).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_player_stays_while_its_publisher_comes_back() {
    // Longer than any test: only the end of the player can end it.
    let bench =
        Bench::with(Config { play_wait: Duration::from_secs(3600), ..Config::default() }, OpenAdmission);
    let mut player = None;
    for round in 0..2 {
        let mut publisher = bench.client().await;
        assert_eq!(publisher.publish("live", "cam0").await, "NetStream.Publish.Start");
        publisher.send(kind::AUDIO, 1, 0, AAC_CONFIG).await;
        publisher.send(kind::AUDIO, 1, 5000, AAC_FRAME).await;
        if player.is_none() {
            let mut client = bench.client().await;
            assert_eq!(client.ask("play", "live", "cam0").await, "NetStream.Play.Reset");
            player = Some(client);
        }
        // The catalog and a frame.
        let sent = round * 101 + 2;
        bench.until("a viewer", |bench| bench.egress("live/cam0").frames == sent).await;
        for frame in 1..100u32 {
            publisher.send(kind::AUDIO, 1, 5000 + frame * 64 / 3, AAC_FRAME).await;
        }
        publisher.command("deleteStream", 0.0, 0, vec![Value::Null, Value::Number(1.0)]).await;
        bench.until("the publisher left", |bench| bench.broadcast("live/cam0").is_none()).await;
        bench.until("nobody watches", |bench| bench.egress("live/cam0").active.live() == 0).await;
    }
    let mut player = player.expect("it plays");
    let (mut configs, mut times) = (0, Vec::new());
    while times.len() < 200 {
        let message = player.message().await.expect("it is still connected");
        match message.kind {
            kind::AUDIO if message.body[1] == 0 => configs += 1,
            kind::AUDIO => times.push(message.timestamp),
            other => assert!(matches!(other, kind::DATA | kind::COMMAND), "{other}"),
        }
    }
    assert_eq!(configs, 2, "each publisher has its parameters");
    assert!(times.is_sorted(), "{times:?}");
    let egress = bench.egress("live/cam0");
    assert_eq!((egress.active.opened, bench.gate.origin().sessions().len()), (2, 1));
    bench.stop().await;
}

#[tokio::test]
async fn a_player_leaves_and_the_broadcast_stays() {
    let bench = Bench::start();
    let mut publisher = bench.client().await;
    publisher.publish("live", "cam0").await;
    publisher.send(kind::AUDIO, 1, 0, AAC_CONFIG).await;
    publisher.send(kind::AUDIO, 1, 0, AAC_FRAME).await;
    let mut player = bench.client().await;
    assert_eq!(player.ask("play", "live", "cam0").await, "NetStream.Play.Reset");
    player.command("deleteStream", 0.0, 0, vec![Value::Null, Value::Number(1.0)]).await;
    bench
        .until("nobody watches", |bench| {
            bench.egress("live/cam0").active.closed == 1 && bench.gate.origin().sessions().len() == 1
        })
        .await;
    assert!(bench.broadcast("live/cam0").is_some());
    bench.stop().await;
}

#[tokio::test]
async fn a_player_that_does_not_read_goes_on_with_the_newest() {
    let bench = Bench::start();
    let mut publisher = bench.client().await;
    publisher.publish("live", "cam0").await;
    publisher.send(kind::AUDIO, 1, 0, AAC_CONFIG).await;
    // Frames of 64 KiB, so that the kernel's buffers are soon full.
    let frame = [&[0xaf, 1][..], &[0x21; 64 << 10]].concat();
    publisher.send(kind::AUDIO, 1, 0, frame.clone()).await;
    let mut player = bench.client().await;
    assert_eq!(player.ask("play", "live", "cam0").await, "NetStream.Play.Reset");
    const FRAMES: u32 = 1000;
    for number in 1..FRAMES {
        publisher.send(kind::AUDIO, 1, number * 64 / 3, frame.clone()).await;
    }
    bench.until("all is in", |bench| bench.ingress("live/cam0").frames >= FRAMES.into()).await;
    let before = bench.egress("live/cam0").frames;
    assert!(before < 500, "{before} frames left before anybody read them");
    publisher.command("deleteStream", 0.0, 0, vec![Value::Null, Value::Number(1.0)]).await;
    let mut times = Vec::new();
    while let Some(message) = player.message().await {
        if message.kind == kind::AUDIO && message.body[1] == 1 {
            times.push(message.timestamp);
        }
    }
    let last = (FRAMES - 1) * 64 / 3;
    assert!(times.last().is_some_and(|time| time.abs_diff(last) < 100), "{:?} of {last}", times.last());
    assert!(times.windows(2).any(|pair| pair[1] - pair[0] > 1000), "it left something out");
    assert!(times.is_sorted());
    bench.stop().await;
}

#[tokio::test]
async fn a_player_that_leaves_while_it_waits_is_gone_at_once() {
    // Longer than any test: only the disconnect can end it.
    let bench =
        Bench::with(Config { play_wait: Duration::from_secs(3600), ..Config::default() }, OpenAdmission);
    let mut player = bench.client().await;
    let waiting = tokio::time::timeout(Duration::from_secs(3600), player.ask("play", "live", "cam0"));
    tokio::select! {
        _ = waiting => panic!("there is nothing to play"),
        () = bench.until("the player waits", |bench| bench.session("live/cam0").is_some()) => {}
    }
    drop(player);
    bench
        .until("it is gone", |bench| bench.session("live/cam0").is_none() && bench.metrics.live() == 0)
        .await;
    bench.stop().await;
}

#[tokio::test]
async fn a_player_that_waits_can_be_ended() {
    let bench =
        Bench::with(Config { play_wait: Duration::from_secs(3600), ..Config::default() }, OpenAdmission);
    let mut player = bench.client().await;
    tokio::select! {
        _ = player.ask("play", "live", "cam0") => panic!("there is nothing to play"),
        () = bench.until("the player waits", |bench| bench.session("live/cam0").is_some()) => {}
    }
    let id = bench.session("live/cam0").expect("it waits").id;
    assert!(bench.gate.origin().kill(&id, KillReason::Operator));
    let (name, info) = player.answer().await.expect("it is told");
    assert_eq!((name.as_str(), info.get("level").and_then(Value::as_text)), ("onStatus", Some("error")));
    assert!(player.message().await.is_none());
    bench.stop().await;
}

#[tokio::test]
async fn a_player_that_does_not_read_can_be_ended() {
    let bench = Bench::start();
    let mut publisher = bench.client().await;
    publisher.publish("live", "cam0").await;
    publisher.send(kind::AUDIO, 1, 0, AAC_CONFIG).await;
    let frame = [&[0xaf, 1][..], &[0x21; 64 << 10]].concat();
    publisher.send(kind::AUDIO, 1, 0, frame.clone()).await;
    let mut player = bench.client().await;
    assert_eq!(player.ask("play", "live", "cam0").await, "NetStream.Play.Reset");
    let mut number = 0;
    // Until the kernel's buffers are full, and nothing leaves any more.
    let (mut left, mut still) = (0, 0);
    while still < 100 {
        number += 1;
        publisher.send(kind::AUDIO, 1, number * 64 / 3, frame.clone()).await;
        bench.until("it is in", |bench| bench.ingress("live/cam0").frames > number.into()).await;
        let now = bench.egress("live/cam0").frames;
        (left, still) = if now == left { (left, still + 1) } else { (now, 0) };
    }
    let id =
        bench.gate.origin().sessions().into_iter().find(|session| session.direction == Direction::Subscribe);
    assert!(bench.gate.origin().kill(&id.expect("it plays").id, KillReason::Operator));
    bench.until("it is gone", |bench| bench.gate.origin().sessions().len() == 1).await;
    let timeouts = bench.sample("moqgate_rtmp_failed_total", "disconnected");
    assert_eq!(timeouts, 0, "it was ended, and not when its time was over");
    bench.stop().await;
}
