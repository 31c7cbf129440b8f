//! What a publisher meets, message by message.

use std::time::Duration;

use moqgate_core::{
    Admission, AdmissionFuture, Credential, Denied, DenyReason, Identity, KillReason, OpenAdmission,
    Protocol, Request,
};
use moqgate_rtmp::Config;
use moqgate_rtmp::proto::message::kind;
use moqgate_rtmp::session::Limits;

use crate::bench::Bench;

/// AAC-LC, 48 kHz, stereo; then a frame of silence.
pub(crate) const AAC_CONFIG: &[u8] = &[0xaf, 0, 0x11, 0x90];
pub(crate) const AAC_FRAME: &[u8] = &[0xaf, 1, 0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c];

/// Refuses by the name of the broadcast; who shows a token is its holder.
struct ByName;

impl Admission for ByName {
    fn admit<'a>(&'a self, request: &'a Request) -> AdmissionFuture<'a> {
        let reason = match request.path.as_str() {
            "live/unauthorized" => DenyReason::Unauthorized,
            "live/forbidden" => DenyReason::Forbidden,
            "live/overloaded" => DenyReason::Overloaded,
            _ => {
                return Box::pin(async move {
                    let mut grant = OpenAdmission.admit(request).await?;
                    if let Credential::Token(token) = &request.credential {
                        grant.identity = Identity::Credential(token.expose().into());
                    }
                    Ok(grant)
                });
            }
        };
        Box::pin(async move { Err(Denied { reason, detail: reason.to_string() }) })
    }
}

#[tokio::test]
async fn line_41_sound_alone_is_a_broadcast() {
    let bench = Bench::start();
    let mut client = bench.client().await;
    assert_eq!(client.publish("live", "cam0?token=x").await, "NetStream.Publish.Start");
    let session = bench.session("live/cam0").expect("a session");
    assert_eq!(session.protocol, Protocol::Rtmp);
    client.send(kind::AUDIO, 1, 0, AAC_CONFIG).await;
    for frame in 0..50 {
        client.send(kind::AUDIO, 1, frame * 21, AAC_FRAME).await;
    }
    bench.until("frames come in", |bench| bench.ingress("live/cam0").frames >= 50).await;
    assert_eq!(bench.codecs("live/cam0"), ["mp4a.40.2"]);
    drop(client);
    bench.until("the path is free", |bench| bench.broadcast("live/cam0").is_none()).await;
    let gauges = bench.ingress("live/cam0").active;
    assert_eq!((gauges.opened, gauges.closed), (1, 1));
    bench.stop().await;
}

#[tokio::test]
async fn line_52_refusals_reach_the_peer_and_close() {
    let bench = Bench::with(Config::default(), ByName);
    for (key, code) in [
        ("unauthorized", "NetStream.Publish.Denied"),
        ("forbidden", "NetStream.Publish.Denied"),
        ("overloaded", "NetStream.Publish.Rejected"),
        ("../escape", "NetStream.Publish.BadName"),
    ] {
        let mut client = bench.client().await;
        assert_eq!(client.publish("live", key).await, code);
        assert!(client.message().await.is_none(), "closed after the refusal");
    }
    assert_eq!(bench.sample("moqgate_rtmp_refused_total", "unauthorized"), 1);
    assert_eq!(bench.sample("moqgate_rtmp_failed_total", "stream_key"), 1);
    assert!(bench.gate.origin().sessions().is_empty());
    bench.stop().await;
}

#[tokio::test]
async fn line_54_the_same_credential_takes_its_path_back_at_once() {
    let bench = Bench::with(Config::default(), ByName);
    let mut ghost = bench.client().await;
    assert_eq!(ghost.publish("live", "cam0?token=mine").await, "NetStream.Publish.Start");

    let mut stranger = bench.client().await;
    assert_eq!(stranger.publish("live", "cam0?token=other").await, "NetStream.Publish.BadName");

    let mut owner = bench.client().await;
    assert_eq!(owner.publish("live", "cam0?token=mine").await, "NetStream.Publish.Start");
    while ghost.message().await.is_some() {}
    owner.send(kind::AUDIO, 1, 0, AAC_CONFIG).await;
    owner.send(kind::AUDIO, 1, 0, AAC_FRAME).await;
    bench.until("the owner publishes", |bench| bench.ingress("live/cam0").frames >= 1).await;
    bench.stop().await;
}

#[tokio::test]
async fn line_54_a_silent_publisher_loses_its_path() {
    let limits = Limits { idle: Duration::from_millis(100), ..Limits::default() };
    let bench = Bench::with(Config { limits, ..Config::default() }, OpenAdmission);
    let mut client = bench.client().await;
    assert_eq!(client.publish("live", "cam0").await, "NetStream.Publish.Start");
    while client.message().await.is_some() {}
    bench.until("the path is free", |bench| bench.broadcast("live/cam0").is_none()).await;
    assert_eq!(bench.sample("moqgate_rtmp_failed_total", "idle"), 1);
    bench.stop().await;
}

#[tokio::test]
async fn an_operator_ends_a_publisher() {
    let bench = Bench::start();
    let mut client = bench.client().await;
    client.publish("live", "cam0").await;
    let id = bench.session("live/cam0").expect("a session").id;
    assert!(bench.gate.origin().kill(&id, KillReason::Operator));
    while client.message().await.is_some() {}
    bench.stop().await;
}

#[tokio::test]
async fn one_connection_publishes_again() {
    let bench = Bench::start();
    let mut client = bench.client().await;
    assert_eq!(client.publish("live", "cam0").await, "NetStream.Publish.Start");
    client.command("deleteStream", 0.0, 0, vec![]).await;
    bench.until("the path is free", |bench| bench.broadcast("live/cam0").is_none()).await;
    let arguments = vec![
        moqgate_rtmp::proto::amf0::Value::Null,
        moqgate_rtmp::proto::amf0::Value::Text("cam1".to_owned()),
    ];
    client.command("publish", 0.0, 1, arguments).await;
    bench.until("the second is there", |bench| bench.broadcast("live/cam1").is_some()).await;
    bench.stop().await;
}

#[tokio::test]
async fn stopping_ends_publishers() {
    let bench = Bench::start();
    let mut client = bench.client().await;
    client.publish("live", "cam0").await;
    bench.stop().await;
    while client.message().await.is_some() {}
}
