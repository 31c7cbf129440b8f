//! How many viewers are behind a subscription: told to peers that can hear it, believed of peers that may say it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use moqgate_core::{BroadcastConsumer, Protocol, Session, Subscription, TrackConsumer};
use moqgate_moq::wire::Version::{Lite05, Lite06};
use moqgate_moq::wire::{self, BidiType, Setup, Subscribe, SubscribeUpdate, Version};

use crate::peer::{HOP, Peer, Stream, start};
use crate::rig::*;
use crate::script::{ascii, bi, expect, hex, ready, say, unhex};

const INFO: wire::TrackInfo =
    wire::TrackInfo { priority: 60, ordered: 0, max_age: Duration::from_secs(30), timescale: 90_000 };

/// How far apart the messages about a subscription are.
const SPACING: Duration = Duration::from_secs(1);

/// A gateway and a publisher of `cam`, which hears how many watch, or does not.
struct Scene {
    server: Server,
    peer: Peer,
    _announcements: Stream,
}

impl Scene {
    async fn new(version: Version, hears: bool) -> Self {
        let server = Server::start(50);
        let mut setup = Setup::default();
        setup.set_hop(HOP);
        if hears {
            setup.set_downstream();
        }
        let peer = Peer::connect_as(server.address, version, &setup).await;
        let mut announcements = peer.announcing().await;
        announcements.send(&start("cam", &[])).await;
        Self { server, peer, _announcements: announcements }
    }

    async fn viewer(&self) -> (Session, BroadcastConsumer) {
        let viewer = local(&self.server.gate, Protocol::Srt);
        let cam = within("announcement", viewer.consumer().wait(&path("cam"))).await.expect("allowed");
        (viewer, cam)
    }

    /// So many viewers of `v`, once the track is there.
    async fn join(&self, count: usize) -> Vec<(Session, TrackConsumer)> {
        let mut joined = Vec::new();
        for _ in 0..count {
            let (session, cam) = self.viewer().await;
            let reader = within("reader", cam.subscribe("v", Subscription::default())).await;
            joined.push((session, reader.expect("there")));
        }
        joined
    }

    /// So many viewers, all of them before the publisher has described the track, and its side of the subscription.
    async fn open(&self, count: usize) -> (Vec<(Session, TrackConsumer)>, Stream, Subscribe) {
        let publisher = async {
            self.peer.describe("cam", "v", &INFO).await;
            let mut stream = self.peer.accept(BidiType::Subscribe).await;
            let subscribe = stream.item(Subscribe::decode_extended).await;
            (stream, subscribe)
        };
        let (joined, (stream, subscribe)) = tokio::join!(self.join(count), publisher);
        (joined, stream, subscribe)
    }
}

async fn update(stream: &mut Stream) -> u64 {
    stream.item(SubscribeUpdate::decode_extended).await.0.downstream
}

#[tokio::test]
async fn the_sum_is_told_at_most_once_a_second_and_then_the_latest() {
    for version in [Lite05, Lite06] {
        let scene = Scene::new(version, true).await;
        let (mut viewers, mut stream, subscribe) = scene.open(1).await;
        assert_eq!(subscribe.terms.downstream, 1, "a first viewer");

        let before = Instant::now();
        viewers.extend(scene.join(1).await);
        assert_eq!(update(&mut stream).await, 2, "nothing was told yet, so this is told at once");
        // Within the second: some come, some go.
        viewers.extend(scene.join(4).await);
        viewers.truncate(5);
        assert_eq!(update(&mut stream).await, 5, "the latest sum, and none in between");
        assert!(before.elapsed() >= SPACING, "{version}: after {:?}", before.elapsed());
        // Who comes and goes within the second causes no message: the next one is about who left for good.
        drop(scene.join(3).await);
        viewers.truncate(4);
        assert_eq!(update(&mut stream).await, 4);
        assert!(before.elapsed() >= 2 * SPACING, "{version}: after {:?}", before.elapsed());

        viewers.clear();
        assert_eq!(
            update(&mut stream).await,
            0,
            "the subscription is held for a while with nobody behind it"
        );
        stream.expect_fin().await;
        drop((stream, viewers));
        let Scene { server, peer, .. } = scene;
        drop(peer);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_crowd_that_comes_and_goes_costs_a_message_a_second() {
    let scene = Scene::new(Lite06, true).await;
    let (viewers, mut stream, _subscribe) = scene.open(1).await;
    let before = Instant::now();
    let mut joined = 0;
    while before.elapsed() < 3 * SPACING {
        joined += scene.join(3).await.len();
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    let lasted = before.elapsed();
    // A last one that is told, so that all that came before it can be counted.
    let crowd = scene.join(100).await;
    let mut updates = 1;
    while update(&mut stream).await < 101 {
        updates += 1;
    }
    let allowed = 2 + lasted.as_secs() + 1;
    assert!(updates <= allowed && joined > 100, "{updates} messages in {lasted:?} about {joined} viewers");
    drop((viewers, crowd, stream));
    let Scene { server, peer, .. } = scene;
    drop(peer);
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_did_not_ask_for_it_is_told_nothing() {
    for version in [Lite05, Lite06] {
        let scene = Scene::new(version, false).await;
        let publisher = async {
            scene.peer.describe("cam", "v", &INFO).await;
            // This decoder rejects a byte too many, as released peers do.
            scene.peer.subscribed().await
        };
        let (mut viewers, (mut stream, subscribe)) = tokio::join!(scene.join(1), publisher);
        assert_eq!(subscribe.terms.downstream, 1);
        viewers.extend(scene.join(5).await);
        // What else changes is still said, in the form that everybody knows, and it is the first message.
        let (_session, cam) = scene.viewer().await;
        let urgent = Subscription { priority: 200, ..Subscription::default() };
        let _urgent = within("reader", cam.subscribe("v", urgent)).await.expect("there");
        let update: SubscribeUpdate = stream.message().await;
        assert_eq!(update.0.priority, 200);
        drop((viewers, stream));
        let Scene { server, peer, .. } = scene;
        drop(peer);
        server.stop().await;
    }
}

/// SUBSCRIBE of `cam`, `v` for so many viewers, and an UPDATE to other ones, on 06.
fn terms(downstream: &str) -> String {
    format!("3c 00 00 00 00 00 {downstream}")
}

fn subscribe(downstream: &str) -> String {
    let body = format!("00 03{} 01{} {}", ascii("cam"), ascii("v"), terms(downstream));
    format!("02 {} {body}", hex(&[unhex(&body).len() as u8]))
}

fn update_to(downstream: &str) -> String {
    format!("{} {}", hex(&[unhex(&terms(downstream)).len() as u8]), terms(downstream))
}

#[tokio::test]
async fn relays_are_believed_and_everybody_else_is_one_viewer() {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    for (gate, counted) in [(trusting_gate(11), [300, 5, 0, 1]), (gate(11), [1; 4])] {
        let server = Server::start_at(anywhere, gate);
        let encoder = local(&server.gate, Protocol::Srt);
        let broadcast = publish(&encoder, "cam");
        let video = track(&broadcast, "v");
        push_group(&video, &[frame(0, "x")]);
        let quic = ready(server.address, Lite06).await;
        // 412b: 299 more than one.
        let (mut send, mut reply) = bi(&quic, &subscribe("412b")).await;
        expect(&mut reply, "000100").await;
        assert_eq!(broadcast.viewers(), counted[0]);
        for (downstream, viewers) in [("04", counted[1]), ("00", counted[2]), ("", counted[3])] {
            say(&mut send, &update_to(downstream)).await;
            eventually("the update is heard", || broadcast.viewers() == viewers).await;
        }
        drop((send, reply));
        quic.close(0u32.into(), b"");
        eventually("the relay is gone", || broadcast.viewers() == 0).await;
        drop((video, broadcast));
        server.stop().await;
    }
}

#[tokio::test]
async fn the_audience_is_summed_across_relays() {
    let origin = Server::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), trusting_gate(11));
    let encoder = local(&origin.gate, Protocol::Srt);
    let broadcast = publish(&encoder, "cam");
    let video = track(&broadcast, "v");
    let edge = Client::start(&origin.url("moqt"), 22, &[Lite06]);
    let watch = async |gate, protocol| {
        let session = local(gate, protocol);
        let cam = within("announcement", session.consumer().wait(&path("cam"))).await.expect("allowed");
        let reader = within("reader", cam.subscribe("v", Subscription::default())).await.expect("there");
        (session, cam, reader)
    };
    let here = watch(&origin.gate, Protocol::Rtmp).await;
    let mut there = Vec::new();
    for protocol in [Protocol::Srt, Protocol::Rtmp, Protocol::Webrtc, Protocol::Moq] {
        there.push(watch(&edge.gate, protocol).await);
    }
    eventually("five watch", || broadcast.viewers() == 5).await;
    assert_eq!((viewers(&origin.gate, "cam"), viewers(&edge.gate, "cam")), (Some(5), Some(4)));
    let row = row(&origin.gate, "cam", Protocol::Moq).expect("a row").egress;
    assert_eq!((row.active.opened, row.subscriptions.opened), (1, 1), "one subscription however many watch");
    assert_eq!(viewers(&origin.gate, "cam"), Some(5), "and nothing comes back to where it was from");
    there.truncate(1);
    eventually("two watch", || broadcast.viewers() == 2).await;
    drop(here);
    assert_eq!(broadcast.viewers(), 1);
    there.clear();
    eventually("nobody watches", || broadcast.viewers() == 0).await;
    drop((video, broadcast));
    edge.stop().await;
    origin.stop().await;
}
