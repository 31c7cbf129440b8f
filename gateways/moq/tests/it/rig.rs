//! Two processes' worth of origins, connected over loopback.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use moqgate_core::usage::{Row, Totals};
use moqgate_core::{
    Admission, AdmissionFuture, BroadcastProducer, Credential, Direction, Forwarded, Frame, FrameSink, Gate,
    Grant, GroupConsumer, Identity, OpenAdmission, Origin, OriginConfig, Path, Protocol, PublishOptions,
    Request, Session, Timestamp, TrackConsumer, TrackInfo, TrackProducer,
};
use moqgate_moq::wire::Version;
use moqgate_moq::{CertificateHash, Config, DialConfig, Dialer, Listener, Metrics, Trust};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Far above what anything here takes: only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("timeout: {what}"))
}

/// Polls until `done`; for things that only counters show.
pub(crate) async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let poll = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(what, poll).await;
}

pub(crate) fn path(text: &str) -> Path {
    Path::new(text).expect("a valid path")
}

pub(crate) fn gate(hop_id: u64) -> Gate {
    Gate::new(Origin::new(OriginConfig { hop_id, ..OriginConfig::default() }), Arc::new(OpenAdmission))
}

/// Lets everybody in, and believes what relays say of viewers behind them.
struct Trusting;

impl Admission for Trusting {
    fn admit<'a>(&'a self, request: &'a Request) -> AdmissionFuture<'a> {
        Box::pin(async move {
            let mut grant = OpenAdmission.admit(request).await?;
            grant.relay = true;
            Ok(grant)
        })
    }
}

pub(crate) fn trusting_gate(hop_id: u64) -> Gate {
    Gate::new(Origin::new(OriginConfig { hop_id, ..OriginConfig::default() }), Arc::new(Trusting))
}

/// The audience of a broadcast as the API shows it.
pub(crate) fn viewers(gate: &Gate, name: &str) -> Option<u64> {
    let all = gate.origin().broadcasts();
    all.into_iter().find(|broadcast| broadcast.path.as_str() == name).map(|broadcast| broadcast.viewers)
}

/// A session of another protocol on the same origin: an encoder, or a viewer.
pub(crate) fn local(gate: &Gate, protocol: Protocol) -> Session {
    let request = Request {
        protocol,
        direction: Direction::Both,
        path: Path::root(),
        credential: Credential::None,
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
    };
    let grant = Grant::everything(Identity::Credential("local".into()));
    gate.open(request, grant, SystemTime::now(), None)
}

/// A running listener.
pub(crate) struct Server {
    pub(crate) gate: Gate,
    pub(crate) address: SocketAddr,
    pub(crate) hash: CertificateHash,
    pub(crate) metrics: Metrics,
    pub(crate) stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    pub(crate) fn start(hop_id: u64) -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), gate(hop_id))
    }

    pub(crate) fn start_at(listen: SocketAddr, gate: Gate) -> Self {
        let config = Config { listen, drain: Duration::from_millis(100), ..Config::default() };
        let listener = Listener::bind(config, gate.clone()).expect("binds");
        let (address, hash, metrics) =
            (listener.local_addr(), listener.certificate_hash(), listener.metrics());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(listener.run(stop.clone()));
        tasks.close();
        Self { gate, address, hash, metrics, stop, tasks }
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/", self.address)
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        within("listener stops", self.tasks.wait()).await;
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        let all = self.metrics.snapshot();
        all.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).expect("a known counter")
    }
}

/// A running dialer.
pub(crate) struct Client {
    pub(crate) gate: Gate,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Client {
    pub(crate) fn start(url: &str, hop_id: u64, versions: &[Version]) -> Self {
        let config = DialConfig {
            trust: Trust::Insecure,
            versions: versions.to_vec(),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(200),
            ..DialConfig::new(url.parse().expect("a URL"))
        };
        Self::dial(config, gate(hop_id))
    }

    pub(crate) fn dial(config: DialConfig, gate: Gate) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(Dialer::new(config, gate.clone()).run(stop.clone()));
        tasks.close();
        Self { gate, stop, tasks }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        within("dialer stops", self.tasks.wait()).await;
    }
}

/// A broadcast with tracks of one kind.
pub(crate) fn publish(session: &Session, name: &str) -> BroadcastProducer {
    session.publisher().publish(&path(name), PublishOptions::default(), Instant::now()).expect("publishes")
}

pub(crate) fn track(broadcast: &BroadcastProducer, name: &str) -> TrackProducer {
    let info =
        TrackInfo { name: name.into(), timescale: 1_000_000, priority: 60, max_age: Duration::from_secs(30) };
    broadcast.create_track(info).expect("a new track")
}

pub(crate) fn frame(micros: u64, payload: impl Into<Bytes>) -> Frame {
    Frame { timestamp: Timestamp::from_micros(micros), received: Instant::now(), payload: payload.into() }
}

/// A finished group of these frames.
pub(crate) fn push_group(track: &TrackProducer, frames: &[Frame]) -> u64 {
    let mut group = track.append_group().expect("open track");
    for frame in frames {
        group.push(frame.clone()).expect("accepted");
    }
    let sequence = group.sequence();
    group.finish();
    sequence
}

/// Takes everything.
#[derive(Default)]
pub(crate) struct Collector(pub(crate) Vec<(u64, Bytes)>);

impl FrameSink for Collector {
    type Error = std::convert::Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn accept(&mut self, frame: Frame) -> Result<(), Self::Error> {
        self.0.push((frame.timestamp.as_micros(), frame.payload));
        Ok(())
    }

    fn now(&self) -> Option<Instant> {
        Some(Instant::now())
    }
}

/// All frames of a group.
pub(crate) async fn drain(mut group: GroupConsumer) -> Vec<(u64, Bytes)> {
    let mut collector = Collector::default();
    while within("frames", group.forward(&mut collector)).await.expect("the group is whole") != Forwarded::End
    {
    }
    collector.0
}

pub(crate) async fn next_group(track: &mut TrackConsumer) -> Option<GroupConsumer> {
    within("next group", track.next_group()).await.expect("the track goes on")
}

pub(crate) fn contents(frames: &[Frame]) -> Vec<(u64, Bytes)> {
    frames.iter().map(|frame| (frame.timestamp.as_micros(), frame.payload.clone())).collect()
}

pub(crate) fn row(gate: &Gate, name: &str, protocol: Protocol) -> Option<Row> {
    gate.origin().usage(Some(&path(name))).usage.into_iter().find(|row| row.protocol == protocol)
}

/// What moved, without the gauges.
pub(crate) fn moved(totals: &Totals) -> (u64, u64, u64) {
    (totals.groups, totals.frames, totals.bytes)
}
