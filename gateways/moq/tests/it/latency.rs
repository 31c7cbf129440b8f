//! What the egress door measures, beside what somebody outside does: a native publisher that knows when it sent what, and
//! a viewer that knows when it got it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use moqgate_core::{Forwarded, Frame, FrameSink, Gate, Latency, Protocol, Subscription, TrackConsumer};
use moqgate_moq::wire::Version::Lite06;

use crate::rig::*;

/// As long as the latest samples of the gateway reach back.
const FRAMES: usize = 1024;
const FRAME_BYTES: usize = 12_500;
/// Frames that are not measured.
const OPENING: u64 = 10;
/// Between two frames, where pictures are imitated.
const PICTURE: Duration = Duration::from_millis(20);

/// Keeps when each frame came.
#[derive(Default)]
struct Arrivals(Vec<Instant>);

impl FrameSink for Arrivals {
    type Error = std::convert::Infallible;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn accept(&mut self, frame: Frame) -> Result<(), Self::Error> {
        // When the viewer's own session had all of it.
        self.0.push(frame.received);
        Ok(())
    }

    fn now(&self) -> Option<Instant> {
        None
    }
}

/// When so many groups of one frame came, in the order of their numbers.
async fn arrivals(reader: &mut TrackConsumer, count: usize) -> Vec<Instant> {
    let mut by_number = BTreeMap::new();
    while by_number.len() < count {
        let mut group = next_group(reader).await.expect("a group");
        let mut arrivals = Arrivals::default();
        while within("frames", group.forward(&mut arrivals)).await.expect("whole") != Forwarded::End {}
        by_number.extend(arrivals.0.into_iter().map(|at| (group.sequence(), at)));
    }
    by_number.into_values().collect()
}

/// When a frame was pushed, and when it was there.
type Flight = (Instant, Instant);

/// p50, p95 and p99, by the rule of the gateway.
fn percentiles(flights: &[Flight]) -> [Duration; 3] {
    let mut late: Vec<_> = flights.iter().map(|(sent, got)| got.saturating_duration_since(*sent)).collect();
    late.sort_unstable();
    [50, 95, 99].map(|percent| late[late.len() * percent / 100])
}

/// From the push at a publisher, through the gateway at `url`, to the hands of a viewer. `look` is asked while the
/// broadcast is still there.
async fn probe<T>(url: &str, frames: usize, apart: Duration, look: impl FnOnce() -> T) -> (Vec<Flight>, T) {
    let publisher = Client::start(url, 33, &[Lite06]);
    let encoder = local(&publisher.gate, Protocol::Srt);
    let broadcast = publish(&encoder, "probe");
    let video = track(&broadcast, "v");
    let viewer = Client::start(url, 44, &[Lite06]);
    let session = local(&viewer.gate, Protocol::Webrtc);
    let seen = within("announcement", session.consumer().wait(&path("probe"))).await.expect("allowed");
    let mut reader = within("subscribe", seen.subscribe("v", Subscription::default())).await.expect("there");
    // The way is open once a first frame has come, and QUIC's window is wide enough for a frame after some more.
    for _ in 0..OPENING {
        push_group(&video, &[frame(0, vec![0; FRAME_BYTES])]);
        arrivals(&mut reader, 1).await;
    }
    let send = async {
        let mut sent = Vec::new();
        for number in 1..=frames as u64 {
            sent.push(Instant::now());
            push_group(&video, &[frame(number * 20_000, vec![0; FRAME_BYTES])]);
            tokio::time::sleep(apart).await;
        }
        sent
    };
    let (sent, got) = tokio::join!(send, arrivals(&mut reader, frames));
    let looked = look();
    drop((reader, seen, session));
    viewer.stop().await;
    drop((video, broadcast, encoder));
    publisher.stop().await;
    (sent.into_iter().zip(got).collect(), looked)
}

fn entry(gate: &Gate) -> Option<Latency> {
    gate.origin().latencies().into_iter().find(|entry| entry.broadcast.as_str() == "probe")
}

#[tokio::test]
async fn latency_inside_is_part_of_latency_outside() {
    let server = Server::start(11);
    let (flights, inside) =
        probe(&server.url("moqt"), 200, Duration::from_millis(1), || entry(&server.gate)).await;
    let inside = inside.expect("measured");
    assert_eq!(inside.transport, Protocol::Moq);
    // The first frame may have been there before the viewer.
    assert!((200 + OPENING - 1..=200 + OPENING).contains(&inside.total_observed), "{inside:?}");
    for (inside, outside) in [inside.p50, inside.p95, inside.p99].into_iter().zip(percentiles(&flights)) {
        assert!(inside <= outside, "{inside:?} inside, {outside:?} outside");
    }
    assert_eq!(entry(&server.gate), None, "gone with its broadcast");
    server.stop().await;
}

/// Says when each frame was pushed and when it was there, in nanoseconds since 1970, for a program that listens where
/// `MOQGATE_PROBE` says (MoQ and HTTP address), and what that program says of them: `tests/bench/slo.py` compares.
#[tokio::test]
#[ignore = "a measurement, which wants a machine for itself: tests/bench/slo.py"]
async fn the_gateway_and_a_probe() {
    let (_, places) = std::env::vars().find(|(name, _)| name == "MOQGATE_PROBE").expect("slo.py says where");
    let (moq, http) = places.split_once(',').expect("two addresses");
    let http: SocketAddr = http.parse().expect("an address");
    let (begin, since) = (Instant::now(), SystemTime::UNIX_EPOCH.elapsed().expect("after 1970"));
    let (flights, inside) = probe(&format!("moqt://{moq}/"), FRAMES, PICTURE, || reported(http)).await;
    let wall = |at: Instant| (since + at.duration_since(begin)).as_nanos();
    flights.into_iter().for_each(|(sent, got)| println!("flight {} {}", wall(sent), wall(got)));
    println!("inside {inside}");
}

/// `GET /api/v1/slo`, whose only broadcast is the probe's.
fn reported(http: SocketAddr) -> String {
    let mut stream = TcpStream::connect(http).expect("it listens");
    stream.write_all(b"GET /api/v1/slo HTTP/1.0\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
}
