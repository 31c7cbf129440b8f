//! The handshake over a real socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use moqgate_core::{Admission, AdmissionFuture, Denied, DenyReason, OpenAdmission, Request};
use moqgate_srt::wire::handshake::CONCLUSION;
use moqgate_srt::{Config, Ignored, Reject};
use tokio::sync::Notify;

use crate::bench::{Bench, Caller, Phone, blocks, conclusion, handshake_packet, induction};

/// Lets everybody in but `slow`, who waits until told.
struct SlowAdmission(Arc<Notify>);

impl Admission for SlowAdmission {
    fn admit<'a>(&'a self, request: &'a Request) -> AdmissionFuture<'a> {
        if request.path.as_str() != "slow" {
            return OpenAdmission.admit(request);
        }
        Box::pin(async {
            self.0.notified().await;
            Err(Denied { reason: DenyReason::Forbidden, detail: "slow and forbidden".to_owned() })
        })
    }
}

#[tokio::test]
async fn a10_inductions_leave_no_state() {
    let bench = Bench::start();
    for round in 0..80 {
        let mut phone = Phone::new(bench.address).await;
        for n in 0..100 {
            let caller = Caller { id: round * 100 + n + 1, seq: 7 };
            phone.send(&handshake_packet(induction(caller))).await;
            phone.handshake(caller.id).await;
        }
    }
    assert_eq!((bench.metrics.waiting(), bench.metrics.opened()), (0, 0));
    bench.stop().await;
}

#[tokio::test]
async fn line_26_a_lost_reply_makes_one_connection() {
    let bench = Bench::start();
    let mut phone = Phone::new(bench.address).await;
    let caller = Caller { id: 11, seq: 1000 };
    let cookie = phone.induct(caller).await;
    let request = handshake_packet(conclusion(caller, cookie, &blocks("a")));
    phone.send(&request).await;
    let first = phone.handshake(caller.id).await;
    for _ in 0..3 {
        phone.send(&request).await;
        let again = phone.handshake(caller.id).await;
        assert_eq!(again, first);
    }
    assert_eq!((bench.metrics.opened(), bench.metrics.live()), (1, 1));
    phone.push(first.socket_id, caller.seq, 20).await;
    bench.until("data arrives", |bench| bench.link("a", "packets_unique") >= 20.0).await;
    bench.stop().await;
}

#[tokio::test]
async fn line_27_a_slow_decision_delays_nobody_else() {
    let go = Arc::new(Notify::new());
    let bench = Bench::with(Config::default(), SlowAdmission(go.clone()));
    let mut phone = Phone::new(bench.address).await;
    let slow = Caller { id: 1, seq: 5 };
    let cookie = phone.induct(slow).await;
    let request = handshake_packet(conclusion(slow, cookie, &blocks("slow")));
    phone.send(&request).await;
    for id in 2..12 {
        phone.publish(Caller { id, seq: 5 }, &format!("fast/{id}")).await;
    }
    // Its repeat is dropped while it is being decided.
    phone.send(&request).await;
    bench.until("repeat seen", |bench| bench.metrics.ignored(Ignored::Waiting) == 1).await;
    go.notify_one();
    let reply = phone.handshake(slow.id).await;
    assert_eq!(reply.kind, Reject::Forbidden.wire());
    assert_eq!(bench.metrics.refused(Reject::Forbidden), 1);
    bench.stop().await;
}

#[tokio::test]
async fn two_sockets_behind_one_port_coexist() {
    let bench = Bench::start();
    let mut phone = Phone::new(bench.address).await;
    let (one, two) = (Caller { id: 21, seq: 100 }, Caller { id: 22, seq: 100 });
    let to_one = phone.publish(one, "one").await;
    let to_two = phone.publish(two, "two").await;
    assert_ne!(to_one, to_two);
    phone.push(to_one, one.seq, 30).await;
    phone.push(to_two, two.seq, 40).await;
    bench.until("first", |bench| bench.link("one", "packets_unique") == 30.0).await;
    bench.until("second", |bench| bench.link("two", "packets_unique") == 40.0).await;
    bench.stop().await;
}

#[tokio::test]
async fn line_33_one_path_has_one_publisher() {
    let bench = Bench::start();
    let mut phone = Phone::new(bench.address).await;
    let first = Caller { id: 1, seq: 1 };
    let to = phone.publish(first, "a").await;
    phone.push(to, first.seq, 10).await;
    let refused = phone.call(Caller { id: 2, seq: 1 }, &blocks("#!::r=a,m=publish")).await;
    assert_eq!(refused.kind, Reject::Conflict.wire());
    assert_eq!(bench.metrics.live(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn a10_every_connection_that_ends_is_forgotten() {
    let bench = Bench::start();
    let mut phone = Phone::new(bench.address).await;
    for id in 1..=200 {
        let to = phone.publish(Caller { id, seq: 9 }, &format!("a/{id}")).await;
        phone.control(to, moqgate_srt::wire::ControlBody::Shutdown).await;
    }
    bench.until("all gone", |bench| bench.metrics.live() == 0).await;
    assert_eq!(bench.metrics.opened(), 200);
    bench.until("sessions gone", |bench| bench.gate.origin().sessions().is_empty()).await;
    bench.stop().await;
}

#[tokio::test]
async fn the_limit_of_connections_is_an_overload() {
    let config = Config { max_connections: 2, ..Config::default() };
    let bench = Bench::with(config, OpenAdmission);
    let mut phone = Phone::new(bench.address).await;
    phone.publish(Caller { id: 1, seq: 1 }, "a").await;
    phone.publish(Caller { id: 2, seq: 1 }, "b").await;
    let refused = phone.call(Caller { id: 3, seq: 1 }, &blocks("c")).await;
    assert_eq!(refused.kind, Reject::Overload.wire());
    bench.stop().await;
}

#[tokio::test]
async fn no_stream_id_takes_the_default_path_or_is_refused() {
    let bench = Bench::start();
    let mut phone = Phone::new(bench.address).await;
    let refused = phone.call(Caller { id: 1, seq: 1 }, &blocks("")).await;
    assert_eq!(refused.kind, Reject::BadRequest.wire());
    bench.stop().await;
    let path = moqgate_core::Path::new("live/default").expect("path");
    let bench = Bench::with(Config { default_path: Some(path), ..Config::default() }, OpenAdmission);
    let mut phone = Phone::new(bench.address).await;
    assert_eq!(phone.call(Caller { id: 1, seq: 1 }, &blocks("")).await.kind, CONCLUSION);
    assert!(bench.session("live/default").is_some());
    bench.stop().await;
}

#[tokio::test]
async fn a_socket_on_every_address_answers_ipv4_callers() {
    let listen = SocketAddr::new(Config::default().listen.ip(), 0);
    let bench = Bench::on(Config { listen, ..Config::default() }, OpenAdmission);
    let mut phone = Phone::new(SocketAddr::from(([127, 0, 0, 1], bench.address.port()))).await;
    let caller = Caller { id: 8, seq: 3 };
    let to = phone.publish(caller, "a").await;
    phone.push(to, caller.seq, 5).await;
    bench.until("data arrives", |bench| bench.link("a", "packets_unique") == 5.0).await;
    let peer = bench.session("a").expect("live").peer;
    assert_eq!(peer, phone.socket.local_addr().expect("bound"), "an IPv4 peer is shown as one");
    bench.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_one_clear_error() {
    let bench = Bench::start();
    let config = Config { listen: bench.address, ..Config::default() };
    let error = moqgate_srt::Listener::bind(config, bench.gate.clone()).err().expect("taken").to_string();
    assert!(error.contains(&bench.address.to_string()) && !error.contains('\n'), "{error}");
    bench.stop().await;
}

#[tokio::test]
async fn stopping_says_goodbye_and_ends_every_session() {
    let bench = Bench::start();
    let mut phone = Phone::new(bench.address).await;
    let caller = Caller { id: 5, seq: 1 };
    phone.publish(caller, "a").await;
    let gate = bench.gate.clone();
    tokio::time::timeout(Duration::from_secs(20), bench.stop()).await.expect("stops");
    assert!(gate.origin().sessions().is_empty());
    loop {
        if let moqgate_srt::wire::Packet::Control(control) = phone.receive(caller.id).await
            && control.body == moqgate_srt::wire::ControlBody::Shutdown
        {
            break;
        }
    }
}
