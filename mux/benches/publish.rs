//! The whole ingress path over a real clip: bytes in the pieces in which SRT delivers them, to `GroupProducer::push`.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking, as tests do")]
#![expect(clippy::disallowed_methods, reason = "a benchmark is where time comes from")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Instant, SystemTime};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use moqgate_core::{
    Credential, Direction, Gate, OpenAdmission, Origin, OriginConfig, Path, Protocol, PublishOptions,
    Request, Session,
};
use moqgate_mux::publisher::{Publisher, PublisherConfig};
use moqgate_mux::ts::{ImportConfig, Importer};

/// Seven packets: the payload of one SRT datagram.
const PIECE: usize = 1316;

fn session() -> Session {
    let gate = Gate::new(Origin::new(OriginConfig::default()), Arc::new(OpenAdmission));
    let request = Request {
        protocol: Protocol::Srt,
        direction: Direction::Publish,
        path: Path::root(),
        credential: Credential::None,
        peer: SocketAddr::from(([10, 0, 0, 1], 5000)),
    };
    let admitted = {
        let admit = std::pin::pin!(gate.admit(&request));
        admit.poll(&mut Context::from_waker(Waker::noop()))
    };
    let Poll::Ready(grant) = admitted else { panic!("open admission does not wait") };
    gate.open(request, grant.unwrap(), SystemTime::UNIX_EPOCH, None)
}

fn publisher(session: &Session, now: Instant) -> Publisher {
    let path = Path::new("bench").unwrap();
    let broadcast = session.publisher().publish(&path, PublishOptions::default(), now).unwrap();
    Publisher::new(broadcast, PublisherConfig::default())
}

fn import(bytes: &[u8], mut publisher: Publisher, now: Instant) -> Publisher {
    let mut importer = Importer::new(ImportConfig::default());
    for piece in bytes.chunks(PIECE) {
        importer.push(piece);
        while let Some(event) = importer.poll() {
            publisher.apply(event, now, 0).unwrap();
        }
    }
    publisher
}

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    let session = session();
    for clip in ["demo", "hevc"] {
        let path = format!("{}/../fixtures/{clip}.ts", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        let now = Instant::now();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(clip, |bencher| {
            let setup = || publisher(&session, now);
            bencher.iter_batched(setup, |publisher| import(&bytes, publisher, now), BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(benches, publish);
criterion_main!(benches);
