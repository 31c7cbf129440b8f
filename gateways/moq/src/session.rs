//! One session, both roles: what the peer opens goes to whom it concerns, and the end is told once.
//!
//! All of a session is one task. Every stream is a future in one set, polled only when something happened to it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::FuturesUnordered;
use moqgate_core::KillReason;
use moqgate_core::usage::EndReason;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::egress;
use crate::ingest::{self, Ingest};
use crate::link::{Link, Violation};
use crate::transport::{
    BiArrivals, Close, Ending, Established, Purpose, Reader, RecvStream, SendStream, SessionLost, UniArrivals,
};
use crate::wire::{BidiType, Goaway, Message as _, SessionCode, UniType, stream_code};

/// Requests of a peer at once; one more is refused. A viewer needs two a track.
const REQUESTS_MAX: usize = 2048;
/// With so many requests at once a peer is granted the full number of them.
const REQUESTS_MANY: usize = 128;
/// How long a stream may take to say what it is.
const TYPE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often QUIC's buffers are fitted to the path.
const ADAPT: Duration = Duration::from_secs(1);
/// Stream code of the registry for a limit reached.
const NO_CAPACITY: u32 = 0x30;

/// How a session that should end is ended.
#[derive(Clone, Debug)]
pub(crate) struct Farewell {
    /// Asks for the end.
    pub(crate) stop: CancellationToken,
    /// Whether the peer is asked to leave first, where the version can say so.
    pub(crate) goaway: bool,
    /// How long the peer may take to leave.
    pub(crate) grace: Duration,
    /// What the session is closed with when it did not.
    pub(crate) code: SessionCode,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The transport ended.
    Closed(Close),
    /// The peer broke the protocol, and was told so.
    Violated(Violation),
    /// Ended from within the process.
    Killed(KillReason),
    /// The gateway is stopping.
    Stopped,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(Close::Peer(code, reason)) if reason.is_empty() => {
                write!(f, "peer closed with {code:#x}")
            }
            Self::Closed(Close::Peer(code, reason)) => write!(f, "peer closed with {code:#x}: {reason}"),
            Self::Closed(Close::Local) => f.write_str("closed"),
            Self::Closed(Close::Lost(reason)) => write!(f, "connection lost: {reason}"),
            Self::Violated(violation) => write!(f, "protocol: {}", violation.reason),
            Self::Killed(reason) => reason.fmt(f),
            Self::Stopped => f.write_str("stopping"),
        }
    }
}

enum Event {
    Ended(Close),
    Bi(BiArrivals, Result<(SendStream, RecvStream), SessionLost>),
    Uni(UniArrivals, Result<RecvStream, SessionLost>),
    Datagram(Option<Bytes>),
    /// A request of the peer's is done.
    Answered(Result<(), Violation>),
    /// Something else is done.
    Done(Result<(), Violation>),
    Killed(KillReason),
    Stop,
    GraceOver,
    Adapt,
}

/// Runs a session to its end, and closes it.
pub(crate) async fn run(
    established: Established,
    link: Arc<Link>,
    core: moqgate_core::Session,
    purpose: Purpose,
    farewell: Farewell,
    tasks: TaskTracker,
) -> End {
    let ender = core.ender();
    let mut driver = Driver::new(established, link.clone(), Arc::new(core), purpose, farewell, tasks);
    let end = driver.drive().await;
    match &end {
        End::Closed(Close::Lost(_)) => ender.ending(EndReason::Lost),
        End::Violated(_) => ender.ending(EndReason::Failed),
        End::Stopped => ender.ending(EndReason::Stopped),
        End::Closed(Close::Peer(..) | Close::Local) | End::Killed(_) => {}
    }
    let (code, reason) = match &end {
        End::Closed(_) => (SessionCode::NO_ERROR, String::new()),
        End::Violated(violation) => (violation.code, violation.reason.clone()),
        End::Killed(reason) => (killed_code(*reason), reason.to_string()),
        End::Stopped => (driver.farewell.code, "going away".to_owned()),
    };
    if matches!(end, End::Killed(_)) {
        // The reason first: a peer that sees its streams reset before it takes that for the end.
        link.transport.close(code.0, &reason).await;
        return end;
    }
    // Streams are reset before the connection closes over them.
    drop(driver);
    link.transport.close(code.0, &reason).await;
    end
}

/// Who is ended from outside must not take it for a clean end, and come back at once.
fn killed_code(reason: KillReason) -> SessionCode {
    if reason == KillReason::TakenOver { SessionCode::NO_ERROR } else { SessionCode::UNAUTHORIZED }
}

struct Driver {
    link: Arc<Link>,
    ingest: Ingest,
    work: FuturesUnordered<BoxFuture<'static, Event>>,
    requests: usize,
    /// Whether the peer has opened a unidirectional stream: only publishers do.
    publishes: bool,
    farewell: Farewell,
    purpose: Purpose,
}

impl Driver {
    fn new(
        established: Established,
        link: Arc<Link>,
        core: Arc<moqgate_core::Session>,
        purpose: Purpose,
        farewell: Farewell,
        tasks: TaskTracker,
    ) -> Self {
        let Established { session: _, uni, bi, ending } = established;
        let ingest = Ingest::new(ingest::Link {
            session: link.transport.clone(),
            version: link.version,
            origin: link.producer.clone(),
            root: link.root.clone(),
            cost: link.peer.cost(),
            counts_viewers: link.peer.downstream(),
            tasks,
        });
        let work = FuturesUnordered::new();
        work.push(ended(ending).boxed());
        work.push(next_bi(bi).boxed());
        work.push(next_uni(uni).boxed());
        work.push(next_datagram(link.clone()).boxed());
        work.push(adapt_later().boxed());
        work.push(async move { Event::Killed(core.killed().await) }.boxed());
        let stop = farewell.stop.clone();
        work.push(async move { stop.cancelled_owned().map(|()| Event::Stop).await }.boxed());
        if link.peer_publishes() {
            work.push(follow(ingest.clone()).boxed());
        }
        Self { link, ingest, work, requests: 0, publishes: false, farewell, purpose }
    }

    async fn drive(&mut self) -> End {
        while let Some(event) = self.work.next().await {
            if let Some(end) = self.handle(event) {
                return end;
            }
        }
        End::Closed(Close::Local)
    }

    fn handle(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Ended(close) => return Some(End::Closed(close)),
            Event::Killed(reason) => return Some(End::Killed(reason)),
            Event::GraceOver => return Some(End::Stopped),
            Event::Answered(result) => {
                self.requests -= 1;
                return result.err().map(End::Violated);
            }
            Event::Done(result) => return result.err().map(End::Violated),
            Event::Bi(arrivals, Ok((send, recv))) => {
                self.work.push(next_bi(arrivals).boxed());
                self.admit(send, recv);
            }
            Event::Uni(arrivals, Ok(recv)) => {
                self.work.push(next_uni(arrivals).boxed());
                if !std::mem::replace(&mut self.publishes, true) {
                    self.link.transport.expect_groups();
                }
                let (link, ingest) = (self.link.clone(), self.ingest.clone());
                self.work.push(async move { Event::Done(serve_uni(&link, &ingest, recv).await) }.boxed());
            }
            Event::Datagram(Some(body)) => {
                self.ingest.datagram(body);
                self.work.push(next_datagram(self.link.clone()).boxed());
            }
            // The end of the session follows, with its reason.
            Event::Bi(_, Err(SessionLost)) | Event::Uni(_, Err(SessionLost)) | Event::Datagram(None) => {}
            Event::Stop => self.say_goodbye(),
            Event::Adapt => {
                self.link.transport.adapt(self.purpose);
                self.work.push(adapt_later().boxed());
            }
        }
        None
    }

    fn admit(&mut self, send: SendStream, recv: RecvStream) {
        if self.requests >= REQUESTS_MAX {
            return send.reset(NO_CAPACITY);
        }
        self.requests += 1;
        self.link.counters.requests.bump();
        if self.requests == REQUESTS_MANY {
            self.link.transport.expect_requests();
        }
        let link = self.link.clone();
        self.work.push(async move { Event::Answered(serve_bi(&link, send, recv).await) }.boxed());
    }

    fn say_goodbye(&mut self) {
        let grace = self.farewell.grace;
        self.work.push(tokio::time::sleep(grace).map(|()| Event::GraceOver).boxed());
        if self.farewell.goaway && self.link.version.has_goaway() {
            let link = self.link.clone();
            self.work.push(async move { Event::Done(send_goaway(&link).await) }.boxed());
        }
    }
}

async fn ended(mut ending: Ending) -> Event {
    Event::Ended(ending.wait().await)
}

/// What the peer publishes.
async fn follow(ingest: Ingest) -> Event {
    Event::Done(ingest.run().await.map_err(|violation| Violation::protocol(violation.to_string())))
}

async fn adapt_later() -> Event {
    tokio::time::sleep(ADAPT).await;
    Event::Adapt
}

async fn next_bi(mut arrivals: BiArrivals) -> Event {
    let stream = arrivals.next().await;
    Event::Bi(arrivals, stream)
}

async fn next_uni(mut arrivals: UniArrivals) -> Event {
    let stream = arrivals.next().await;
    Event::Uni(arrivals, stream)
}

async fn next_datagram(link: Arc<Link>) -> Event {
    Event::Datagram(link.transport.recv_datagram().await)
}

async fn send_goaway(link: &Link) -> Result<(), Violation> {
    if let Ok((mut send, _reply)) = link.transport.open_bi().await {
        let mut message = BytesMut::new();
        BidiType::Goaway.encode(&mut message);
        Goaway::default().encode(&mut message, link.version);
        if send.write(message.freeze()).await.is_ok() {
            send.finish();
        }
    }
    Ok(())
}

/// A request of the peer's. An unknown one costs it that stream, so that peers can find out what we know.
async fn serve_bi(link: &Arc<Link>, send: SendStream, recv: RecvStream) -> Result<(), Violation> {
    let mut request = Reader::new(recv, link.version);
    let Ok(Ok(id)) = tokio::time::timeout(TYPE_TIMEOUT, request.stream_type()).await else {
        send.reset(stream_code::CONTROL_TIMEOUT);
        return Ok(());
    };
    match BidiType::from_id(id, link.version) {
        Some(BidiType::Announce) => egress::announce(link, send, request).await,
        Some(BidiType::Subscribe) => egress::subscribe(link, send, request).await,
        Some(BidiType::Fetch) => egress::fetch(link, send, request).await,
        Some(BidiType::Probe) => egress::probe(link, send, request).await,
        Some(BidiType::Track) => egress::track(link, send, request).await,
        Some(BidiType::Goaway) => return hear_goaway(link, request).await,
        None => send.reset(stream_code::CANCELLED),
    }
    Ok(())
}

/// The peer leaves: where to is for whoever dialled it; a listener's peer comes back by itself.
async fn hear_goaway(link: &Link, mut request: Reader) -> Result<(), Violation> {
    let Ok(Some(Goaway { uri })) = request.message::<Goaway>().await else {
        return Err(Violation::protocol("unreadable GOAWAY"));
    };
    let first = link.goaway.send_if_modified(|heard| {
        let first = heard.is_none();
        heard.get_or_insert(uri);
        first
    });
    if first { Ok(()) } else { Err(Violation::protocol("second GOAWAY")) }
}

async fn serve_uni(link: &Link, ingest: &Ingest, recv: RecvStream) -> Result<(), Violation> {
    let mut stream = Reader::new(recv, link.version);
    let Ok(Ok(id)) = tokio::time::timeout(TYPE_TIMEOUT, stream.stream_type()).await else { return Ok(()) };
    match UniType::from_id(id, link.version) {
        Some(UniType::Group) => ingest.group(stream).await,
        Some(UniType::Setup) => return Err(Violation::protocol("second SETUP")),
        None => stream.stop(stream_code::INTERNAL),
    }
    Ok(())
}
