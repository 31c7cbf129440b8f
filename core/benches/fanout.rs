//! Fan-out of one 5 Mbit/s track at 50 frames a second to many readers in one process, and what metering is of it.

#![expect(clippy::disallowed_methods, reason = "a benchmark is where time comes from")]

use std::{
    cell::Cell,
    hint::black_box,
    net::{SocketAddr, UdpSocket},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use moqgate_core::usage::{Bookkeeping, Clock};
use moqgate_core::{
    BroadcastProducer, Credential, Direction, Frame, FrameSink, Gate, GroupConsumer, GroupProducer,
    OpenAdmission, Origin, OriginConfig, Path, Protocol, PublishOptions, Request, Session, Subscription,
    Timestamp, TrackConsumer, TrackInfo, TrackProducer,
};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// 5 Mbit/s at 50 frames a second.
const FRAME_BYTES: usize = 12_500;
/// One group of about two seconds: an odd number, so that frames that are counted and frames that are not begin one in turn.
const GROUP_FRAMES: u64 = 101;
/// Usage is written down every ten seconds.
const SETTLE_FRAMES: usize = 500;

/// Takes everything.
struct Discard {
    bytes: u64,
    kind: Kind,
    clock: Rc<Cell<Instant>>,
    key: LessSafeKey,
    packet: Vec<u8>,
    batch: Vec<u8>,
    socket: Option<Rc<UdpSocket>>,
}

/// What a sink does with a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing; the clock is read once for all readers of a frame.
    Nothing,
    /// Nothing, and it has no clock: only the charge is left.
    Charge,
    /// It encrypts the payload in packets, as QUIC does, and reads the clock.
    Encrypt,
    /// The same, and it gives the packets to the kernel in one call, as with segmentation offload, which takes them to a
    /// socket that nobody reads.
    Send,
}

/// Payload bytes of a QUIC packet on an ordinary path.
const PACKET_BYTES: usize = 1200;

impl Discard {
    fn new(kind: Kind, clock: &Rc<Cell<Instant>>, socket: &Rc<UdpSocket>) -> Self {
        let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("a key of its length");
        let (key, clock) = (LessSafeKey::new(key), Rc::clone(clock));
        let socket = (kind == Kind::Send).then(|| Rc::clone(socket));
        Self { bytes: 0, kind, clock, key, packet: Vec::new(), batch: Vec::new(), socket }
    }
}

impl FrameSink for Discard {
    type Error = std::convert::Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn accept(&mut self, frame: Frame) -> Result<(), Self::Error> {
        self.bytes += black_box(&frame.payload).len() as u64;
        if matches!(self.kind, Kind::Encrypt | Kind::Send) {
            self.batch.clear();
            for chunk in frame.payload.chunks(PACKET_BYTES) {
                self.packet.clear();
                self.packet.extend_from_slice(chunk);
                let nonce = Nonce::assume_unique_for_key([0; 12]);
                let sealed = self.key.seal_in_place_append_tag(nonce, Aad::empty(), &mut self.packet);
                assert!(sealed.is_ok(), "it fits");
                black_box(&self.packet);
                if self.socket.is_some() {
                    self.batch.extend_from_slice(&self.packet);
                }
            }
        }
        if let Some(socket) = &self.socket {
            assert_eq!(socket.send(&self.batch).ok(), Some(self.batch.len()));
        }
        Ok(())
    }

    fn now(&self) -> Option<Instant> {
        match self.kind {
            Kind::Nothing => Some(self.clock.get()),
            Kind::Charge => None,
            Kind::Encrypt | Kind::Send => Some(moqgate_core::monotonic_now()),
        }
    }
}

/// One publisher and its readers, driven by hand so that no scheduler is measured.
struct Fanout {
    payload: Bytes,
    video: TrackProducer,
    group: Option<GroupProducer>,
    readers: Vec<(TrackConsumer, Option<GroupConsumer>, Discard)>,
    pushed: u64,
    clock: Rc<Cell<Instant>>,
    origin: Origin,
    _held: (BroadcastProducer, Vec<Session>),
}

fn session(gate: &Gate, protocol: Protocol) -> Session {
    let request = Request {
        protocol,
        direction: Direction::Both,
        path: Path::root(),
        credential: Credential::None,
        peer: SocketAddr::from(([127, 0, 0, 1], 1)),
    };
    let grant = ready(gate.admit(&request)).expect("everybody is let in");
    gate.open(request, grant, SystemTime::UNIX_EPOCH, None)
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here has to wait"),
    }
}

impl Fanout {
    fn new(readers: usize, kind: Kind, bookkeeping: Option<Bookkeeping>) -> Self {
        let origin = Origin::new(OriginConfig { bookkeeping, ..OriginConfig::default() });
        let gate = Gate::new(origin.clone(), Arc::new(OpenAdmission));
        let path = Path::new("live/cam0").expect("a path");
        let start = Instant::now();
        let clock = Rc::new(Cell::new(start));
        let publisher = session(&gate, Protocol::Srt);
        let broadcast =
            publisher.publisher().publish(&path, PublishOptions::default(), start).expect("a free path");
        let max_age = std::time::Duration::from_secs(30);
        let info = TrackInfo { name: "video".into(), timescale: 1_000_000, priority: 60, max_age };
        let video = broadcast.create_track(info).expect("a free name");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(socket.local_addr().expect("an address")).expect("loopback");
        let socket = Rc::new(socket);
        let mut sessions = vec![publisher];
        let readers = (0..readers)
            .map(|_| {
                let session = session(&gate, Protocol::Moq);
                let watched = session.consumer().consume(&path).expect("it is there");
                sessions.push(session);
                let reader = ready(watched.subscribe("video", Subscription::default())).expect("it is there");
                (reader, None, Discard::new(kind, &clock, &socket))
            })
            .collect();
        let payload = Bytes::from(vec![7; FRAME_BYTES]);
        Self { payload, video, group: None, readers, pushed: 0, clock, origin, _held: (broadcast, sessions) }
    }

    /// One frame in, and out to every reader, counted and measured or not.
    fn frame<const COUNTED: bool>(&mut self) {
        if self.pushed.is_multiple_of(GROUP_FRAMES) {
            let next = self.video.append_group().expect("a live track");
            self.group.replace(next).into_iter().for_each(GroupProducer::finish);
        }
        let timestamp = Timestamp::from_micros(self.pushed * 20_000);
        self.clock.set(Instant::now());
        let frame = Frame { timestamp, received: self.clock.get(), payload: self.payload.clone() };
        self.group.as_mut().expect("opened above").push(frame).expect("an open group");
        self.pushed += 1;
        let mut cx = Context::from_waker(Waker::noop());
        for (reader, group, sink) in &mut self.readers {
            loop {
                if group.is_none() {
                    let Poll::Ready(Ok(next)) = reader.poll_next_group(&mut cx) else { break };
                    *group = next;
                }
                let Some(current) = group else { break };
                let polled = match COUNTED {
                    true => current.poll_forward(&mut cx, sink),
                    false => current.poll_forward_uncounted(&mut cx, sink),
                };
                match polled {
                    Poll::Ready(Ok(moqgate_core::Forwarded::End)) => *group = None,
                    Poll::Ready(_) => {}
                    Poll::Pending => break,
                }
            }
        }
    }
}

fn fanout(c: &mut Criterion) {
    let mut bench = c.benchmark_group("fanout");
    for readers in [1, 100, 1000] {
        bench.throughput(Throughput::Elements(readers as u64));
        let mut world = Fanout::new(readers, Kind::Nothing, None);
        bench.bench_function(BenchmarkId::from_parameter(readers), |b| b.iter(|| world.frame::<true>()));
    }
    bench.finish();
}

/// What a charge costs by itself: plain additions to counters of one's own, beside a delivered frame above.
fn metering(c: &mut Criterion) {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    let counters: Vec<[AtomicU64; 2]> = (0..1000).map(|_| Default::default()).collect();
    let mut bench = c.benchmark_group("metering");
    bench.throughput(Throughput::Elements(1000));
    bench.bench_function("charges_of_1000_readers", |b| {
        b.iter(|| {
            for [frames, bytes] in &counters {
                frames.store(frames.load(Relaxed) + 1, Relaxed);
                bytes.store(bytes.load(Relaxed) + black_box(FRAME_BYTES) as u64, Relaxed);
            }
        });
    });
    bench.finish();
}

/// Frames of a comparison, each once with and once without.
const PAIRS: usize = 20_480;
/// Frames whose times are added up, so that what happens once in several frames is in every sum.
const BLOCK: usize = 10;

/// What counting and measuring cost, from frames that alternate, so that whatever else the machine does falls on both.
fn cost(_: &mut Criterion) {
    for (name, kind) in [
        ("charges alone, sinks that do nothing", Kind::Charge),
        ("charges and latencies, sinks that do nothing", Kind::Nothing),
        ("charges, latencies and a clock, sinks that encrypt", Kind::Encrypt),
    ] {
        for readers in [1, 100, 1000] {
            compare(name, kind, readers, None);
        }
    }
    for (name, kind) in
        [("the same with books", Kind::Encrypt), ("with books, sinks that encrypt and send", Kind::Send)]
    {
        for readers in [1, 100, 1000] {
            let books = Bookkeeping { clock: Clock::new(Instant::now), ended_max: 1000 };
            compare(name, kind, readers, Some(books));
        }
    }
}

#[expect(clippy::print_stdout, reason = "what criterion has no column for")]
fn compare(name: &str, kind: Kind, readers: usize, books: Option<Bookkeeping>) {
    let mut world = Fanout::new(readers, kind, books);
    let (mut with, mut without, mut settled) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..PAIRS * 100 / readers.max(100) {
        with.push(timed(|| world.frame::<true>()));
        without.push(timed(|| world.frame::<false>()));
        if pair % SETTLE_FRAMES == 0 {
            settled.push(timed(|| drop(black_box(world.origin.settle()))));
        }
    }
    let blocks = |nanos: &[u64]| nanos.chunks_exact(BLOCK).map(|block| block.iter().sum::<u64>()).collect();
    let per_reader = |nanos: f64| nanos / readers as f64;
    let frame = |nanos: &[u64]| per_reader(quartile(blocks(nanos))) / BLOCK as f64;
    let (with, without) = (frame(&with), frame(&without));
    // A frame's part of what is settled once for all of its interval.
    let settled = per_reader(quartile(settled)) / SETTLE_FRAMES as f64;
    let (added, percent) = (with - without, 100.0 * (with + settled - without) / without);
    println!(
        "cost/{readers}, {name}: {with:.2} ns with, {without:.2} ns without, {added:.2} and {settled:.2} \
         to settle are {percent:.2} %"
    );
}

fn timed(work: impl FnOnce()) -> u64 {
    let start = Instant::now();
    work();
    u64::try_from(start.elapsed().as_nanos()).expect("it takes less than centuries")
}

/// Of times that other work can only make longer.
fn quartile(mut nanos: Vec<u64>) -> f64 {
    nanos.sort_unstable();
    nanos[nanos.len() / 4] as f64
}

criterion_group!(benches, fanout, metering, cost);
criterion_main!(benches);
