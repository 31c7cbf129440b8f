//! Peers that mean harm: they are cut off, with a reason, and nobody else notices.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use moqgate_core::{Full, OpenAdmission};
use moqgate_rtmp::Config;
use moqgate_rtmp::proto::amf0::Value;
use moqgate_rtmp::proto::command::{body, object};
use moqgate_rtmp::proto::message::kind;
use moqgate_rtmp::session::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::bench::{Bench, Client, LIMIT};

/// Waits for the end of a connection.
async fn closed(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut rest = BytesMut::new();
    let end = async { while stream.read_buf(&mut rest).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(LIMIT, end).await.expect("closed");
}

async fn failed(bench: &Bench, kind: &str, times: u64) {
    bench
        .until(kind, |bench| {
            bench.sample("moqgate_rtmp_failed_total", kind) == times && bench.metrics.live() == 0
        })
        .await;
}

#[tokio::test]
async fn other_protocols_are_closed_at_once() {
    let bench = Bench::start();
    for (n, hello) in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 2, 0], &[6; 100]].iter().enumerate() {
        let mut socket = bench.socket().await;
        socket.write_all(hello).await.expect("loopback");
        closed(&mut socket).await;
        failed(&bench, "not_rtmp", n as u64 + 1).await;
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_chunk_size_of_nothing_ends_the_connection() {
    let bench = Bench::start();
    let mut client = bench.client().await;
    client.send(kind::SET_CHUNK_SIZE, 0, 0, vec![0; 4]).await;
    closed(&mut client.stream).await;
    failed(&bench, "chunk_stream", 1).await;
    bench.stop().await;
}

#[tokio::test]
async fn megabytes_in_chunks_of_one_byte_are_cut_off() {
    let bench = Bench::start();
    let mut client = bench.client().await;
    assert_eq!(client.publish("live", "cam0").await, "NetStream.Publish.Start");
    client.send(kind::SET_CHUNK_SIZE, 0, 0, vec![0, 0, 0, 1]).await;
    let mut picture = vec![6, 0, 0, 0, 0x9f, 0xff, 0xff, kind::VIDEO, 1, 0, 0, 0, 0];
    picture.extend([0xc6, 0].repeat(200_000));
    // It is closed before all of it is sent.
    client.stream.write_all(&picture).await.ok();
    closed(&mut client.stream).await;
    failed(&bench, "chunk_stream", 1).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_hundred_thousand_levels_of_amf_are_not_followed() {
    let bench = Bench::start();
    let mut client = bench.client().await;
    let mut connect = body("connect", 1.0, vec![]).to_vec();
    connect.extend([0x0a, 0, 0, 0, 1].repeat(13_000));
    client.send(kind::COMMAND, 0, 0, connect).await;
    closed(&mut client.stream).await;
    // A command has 64 KiB: what needs more is not even read.
    let mut client = bench.client().await;
    client
        .stream
        .write_all(&[3, 0, 0, 0, 0x07, 0xa1, 0x20, kind::COMMAND, 0, 0, 0, 0])
        .await
        .expect("loopback");
    closed(&mut client.stream).await;
    failed(&bench, "command", 1).await;
    failed(&bench, "chunk_stream", 1).await;
    bench.stop().await;
}

#[tokio::test]
async fn idle_connections_are_few_and_short() {
    let limits = Limits { start: Duration::from_millis(300), ..Limits::default() };
    let config = Config { limits, max_pending: 8, max_pending_per_place: 4, ..Config::default() };
    let bench = Bench::with(config, OpenAdmission);
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(bench.socket().await);
    }
    bench.until("most are turned away", |bench| bench.metrics.turned(Full::Pending) >= 16).await;
    for socket in &mut idle {
        closed(socket).await;
    }
    failed(&bench, "deadline", 4).await;
    // One that says a byte now and then gets no more time.
    let mut slow = bench.socket().await;
    let drip = async {
        while slow.write_all(&[3]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, drip).await.expect("closed");
    failed(&bench, "deadline", 5).await;
    bench.stop().await;
}

#[tokio::test]
async fn publishers_do_not_count_as_idle() {
    let config = Config { max_pending: 1, ..Config::default() };
    let bench = Bench::with(config, OpenAdmission);
    let mut publishers = Vec::new();
    for n in 0..5 {
        let mut client = bench.client().await;
        assert_eq!(client.publish("live", &format!("cam{n}")).await, "NetStream.Publish.Start");
        publishers.push(client);
    }
    assert_eq!(bench.metrics.live(), 5);
    bench.stop().await;
}

#[tokio::test]
async fn talk_before_publishing_is_bounded() {
    let bench = Bench::start();
    let mut client = bench.client().await;
    let app = object([("app", Value::Text("live".to_owned()))]);
    client.command("connect", 1.0, 0, vec![app]).await;
    client.send(kind::VIDEO, 0, 0, vec![0; 70_000]).await;
    closed(&mut client.stream).await;
    failed(&bench, "flood", 1).await;
    bench.stop().await;
}

#[tokio::test]
async fn one_place_that_fills_its_share_shuts_nobody_else_out() {
    let config = Config { max_pending: 16, max_pending_per_place: 8, ..Config::default() };
    let bench = Bench::with(config, OpenAdmission);
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(bench.socket().await);
    }
    bench.until("it has its share", |bench| bench.metrics.turned(Full::Pending) >= 12).await;
    let mut client = Client::new(from(2, &bench).await).await;
    assert_eq!(client.publish("live", "cam0").await, "NetStream.Publish.Start");
    drop(idle);
    bench.until("only the publisher is left", |bench| bench.metrics.live() == 1).await;
    bench.stop().await;
}

#[tokio::test]
async fn many_places_that_fill_the_port_shut_nobody_else_out() {
    let config = Config { max_pending: 8, max_pending_per_place: 4, ..Config::default() };
    let bench = Bench::with(config, OpenAdmission);
    let mut idle = Vec::new();
    for host in 2..6 {
        for _ in 0..4 {
            idle.push(from(host, &bench).await);
        }
    }
    let mut client = Client::new(from(9, &bench).await).await;
    assert_eq!(client.publish("live", "cam0").await, "NetStream.Publish.Start");
    bench.until("the oldest made room", |bench| bench.metrics.turned(Full::Pending) >= 8).await;
    closed(&mut idle[0]).await;
    bench.stop().await;
}

/// A connection from an address of this machine's own.
async fn from(host: u8, bench: &Bench) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).expect("loopback has many addresses");
    socket.connect(bench.address).await.expect("the listener listens")
}

/// Everything above at once, over and over, beside somebody who does nothing but publish.
#[tokio::test]
async fn a_publisher_does_not_notice_hostile_peers() {
    const ROUNDS: u64 = 5;
    let bench = Bench::start();
    let mut publisher = bench.client().await;
    assert_eq!(publisher.publish("live", "healthy").await, "NetStream.Publish.Start");
    publisher.send(kind::AUDIO, 1, 0, vec![0xaf, 0, 0x11, 0x90]).await;
    let mut sent = 0;
    for round in 0..ROUNDS {
        let mut attackers = Vec::new();
        for attack in [
            set_chunk_size(0),
            // 16 MiB, of which no message may have as many.
            vec![6, 0, 0, 0, 0xff, 0xff, 0xff, kind::VIDEO, 1, 0, 0, 0],
            [
                set_chunk_size(1),
                vec![6, 0, 0, 0, 0x9f, 0xff, 0xff, kind::VIDEO, 1, 0, 0, 0, 0],
                [0xc6, 0].repeat(100_000),
            ]
            .concat(),
            nested_connect(),
        ] {
            let mut client = bench.client().await;
            client.stream.write_all(&attack).await.ok();
            attackers.push(client);
            publisher.send(kind::AUDIO, 1, sent * 21, vec![0xaf, 1, 0x21, 0x10]).await;
            sent += 1;
        }
        for attacker in &mut attackers {
            closed(&mut attacker.stream).await;
        }
        bench
            .until("each is cut off for its reason", |bench| {
                let failed = |kind| bench.sample("moqgate_rtmp_failed_total", kind);
                failed("chunk_stream") + failed("flood") == 3 * (round + 1) && failed("command") == round + 1
            })
            .await;
    }
    // The catalog is a frame, too.
    bench.until("all of it", |bench| bench.ingress("live/healthy").frames == u64::from(sent) + 1).await;
    assert_eq!(bench.metrics.live(), 1);
    bench.stop().await;
}

fn set_chunk_size(size: u32) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 0, 4, kind::SET_CHUNK_SIZE, 0, 0, 0, 0][..], &size.to_be_bytes()].concat()
}

/// A `connect` of as many levels as fit, in one chunk.
fn nested_connect() -> Vec<u8> {
    let connect = [&body("connect", 1.0, vec![])[..], &[0x0a, 0, 0, 0, 1].repeat(13_000)].concat();
    let [_, high, middle, low] = u32::try_from(connect.len()).expect("64 KiB").to_be_bytes();
    [set_chunk_size(0x10_0000), vec![3, 0, 0, 0, high, middle, low, kind::COMMAND, 0, 0, 0, 0], connect]
        .concat()
}
