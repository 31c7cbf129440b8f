//! What the tests share: an origin, sessions, and a sink that keeps what it is given.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use moqgate_core::{
    Admission, AdmissionFuture, BroadcastProducer, Credential, Direction, Frame, FrameSink, Gate, Grant,
    Identity, OpenAdmission, Origin, OriginConfig, Path, Pattern, Protocol, PublishOptions, Request, Session,
    Timestamp, TrackInfo, TrackProducer,
    usage::{Row, Totals},
};

/// An origin whose sessions come through `admission`.
pub(crate) struct Rig {
    pub(crate) gate: Gate,
    pub(crate) start: Instant,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(OriginConfig::default(), OpenAdmission)
    }

    pub(crate) fn with(config: OriginConfig, admission: impl Admission) -> Self {
        Self { gate: Gate::new(Origin::new(config), Arc::new(admission)), start: Instant::now() }
    }

    pub(crate) fn origin(&self) -> &Origin {
        self.gate.origin()
    }

    /// A session of an anonymous peer at 10.0.0.`host`.
    pub(crate) async fn session(&self, protocol: Protocol, host: u8) -> Session {
        self.session_as(protocol, host, Credential::None).await
    }

    pub(crate) async fn session_as(&self, protocol: Protocol, host: u8, credential: Credential) -> Session {
        let request = Request {
            protocol,
            direction: Direction::Both,
            path: Path::root(),
            credential,
            peer: SocketAddr::from(([10, 0, 0, host], 5000)),
        };
        let grant = self.gate.admit(&request).await.unwrap();
        self.gate.open(request, grant, SystemTime::UNIX_EPOCH, None)
    }

    pub(crate) async fn publish(&self, host: u8, path: &str) -> (Session, BroadcastProducer) {
        let session = self.session(Protocol::Srt, host).await;
        let broadcast =
            session.publisher().publish(&at(path), PublishOptions::default(), self.start).unwrap();
        (session, broadcast)
    }

    pub(crate) fn frame(&self, micros: u64, bytes: usize) -> Frame {
        Frame {
            timestamp: Timestamp::from_micros(micros),
            received: self.start + Duration::from_micros(micros),
            payload: Bytes::from(vec![7; bytes]),
        }
    }

    pub(crate) fn row(&self, path: &str, protocol: Protocol) -> Option<Row> {
        self.row_in(path, protocol, "")
    }

    pub(crate) fn row_in(&self, path: &str, protocol: Protocol, tier: &str) -> Option<Row> {
        let usage = self.origin().usage(Some(&at(path))).usage;
        usage.into_iter().find(|row| row.protocol == protocol && &*row.tier == tier)
    }

    pub(crate) fn ingress(&self, path: &str) -> Totals {
        self.row(path, Protocol::Srt).map(|row| row.ingress).unwrap_or_default()
    }

    pub(crate) fn egress(&self, path: &str) -> Totals {
        self.row(path, Protocol::Moq).map(|row| row.egress).unwrap_or_default()
    }
}

pub(crate) fn at(path: &str) -> Path {
    Path::new(path).unwrap()
}

pub(crate) fn info(name: &str) -> TrackInfo {
    TrackInfo { name: name.into(), timescale: 1_000_000, priority: 60, max_age: Duration::from_secs(30) }
}

pub(crate) fn track(broadcast: &BroadcastProducer, name: &str) -> TrackProducer {
    broadcast.create_track(info(name)).unwrap()
}

/// Keeps what it accepts, as long as it has credit.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) frames: VecDeque<Frame>,
    pub(crate) credit: usize,
    /// What its clock shows.
    pub(crate) now: Option<Instant>,
}

impl Kept {
    pub(crate) fn with_credit(credit: usize) -> Self {
        Self { frames: VecDeque::new(), credit, now: None }
    }

    pub(crate) fn unlimited() -> Self {
        Self::with_credit(usize::MAX)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.frames.iter().map(|frame| frame.payload.len() as u64).sum()
    }
}

impl FrameSink for Kept {
    type Error = &'static str;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.credit > 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn accept(&mut self, frame: Frame) -> Result<(), Self::Error> {
        self.credit -= 1;
        if frame.payload.is_empty() {
            return Err("empty");
        }
        self.frames.push_back(frame);
        Ok(())
    }

    fn now(&self) -> Option<Instant> {
        self.now
    }
}

/// Gives every credential its own identity, tier and paths.
pub(crate) struct Keys;

impl Admission for Keys {
    fn admit<'a>(&'a self, request: &'a Request) -> AdmissionFuture<'a> {
        let key = match &request.credential {
            Credential::Token(key) => key.expose().to_owned(),
            Credential::None | Credential::User { .. } => String::new(),
        };
        let identity = if key.is_empty() {
            Identity::Anonymous(request.peer.ip())
        } else {
            Identity::Credential(key.as_str().into())
        };
        let paths = vec![if key.is_empty() { Pattern::all() } else { Pattern::below(&at("live")) }];
        let grant = Grant {
            publish: paths.clone(),
            subscribe: paths,
            tier: key.as_str().into(),
            ..Grant::new(identity)
        };
        Box::pin(std::future::ready(Ok(grant)))
    }
}
