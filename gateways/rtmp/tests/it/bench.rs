//! A listener in this process, and a client made of nothing but messages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use moqgate_core::usage::Totals;
use moqgate_core::{
    Admission, BroadcastSnapshot, Gate, OpenAdmission, Origin, OriginConfig, SessionSnapshot,
};
use moqgate_rtmp::proto::amf0::{Reader, Value};
use moqgate_rtmp::proto::chunk::{ChunkReader, ChunkWriter};
use moqgate_rtmp::proto::command::{body, object};
use moqgate_rtmp::proto::handshake::{ClientHandshake, Step};
use moqgate_rtmp::proto::message::{Message, kind};
use moqgate_rtmp::{Config, Listener, Metrics};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Generous: a busy machine must not fail a test, and a passing one never waits it out.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Long enough for a publisher that comes at once; players stay as long when it has left.
const PLAY_WAIT: Duration = Duration::from_secs(3);

/// A running listener; it ends with the value.
pub(crate) struct Bench {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) gate: Gate,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Bench {
    pub(crate) fn start() -> Self {
        Self::with(Config { play_wait: PLAY_WAIT, ..Config::default() }, OpenAdmission)
    }

    pub(crate) fn with(config: Config, admission: impl Admission) -> Self {
        let config = Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..config };
        let gate = Gate::new(Origin::new(OriginConfig::default()), Arc::new(admission));
        let listener = Listener::bind(config, gate.clone()).expect("a free port");
        let (address, metrics) = (listener.local_addr(), listener.metrics());
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(listener.run(shutdown.clone()));
        Self { address, metrics, gate, shutdown, tasks }
    }

    /// Stops the listener and waits for the end of it.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        let end = tokio::time::timeout(LIMIT, self.tasks.join_next()).await;
        end.expect("the listener stops").expect("one task").expect("no panic");
        assert_eq!(self.metrics.live(), 0, "no connection outlives the listener");
        assert!(self.gate.origin().broadcasts().is_empty(), "nor does a broadcast");
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("rtmp://{}/{path}", self.address)
    }

    pub(crate) fn session(&self, path: &str) -> Option<SessionSnapshot> {
        self.gate.origin().sessions().into_iter().find(|session| session.path.as_str() == path)
    }

    pub(crate) fn broadcast(&self, path: &str) -> Option<BroadcastSnapshot> {
        self.gate.origin().broadcasts().into_iter().find(|broadcast| broadcast.path.as_str() == path)
    }

    /// Codecs of the tracks of `path`, sorted.
    pub(crate) fn codecs(&self, path: &str) -> Vec<String> {
        let tracks = self.broadcast(path).map(|broadcast| broadcast.tracks).unwrap_or_default();
        let mut codecs: Vec<_> = tracks.into_iter().map(|track| track.codec).collect();
        codecs.sort();
        codecs
    }

    /// What came in for `path`.
    pub(crate) fn ingress(&self, path: &str) -> Totals {
        let usage = self.gate.origin().usage(None).usage;
        usage.into_iter().find(|row| row.path.as_str() == path).map(|row| row.ingress).unwrap_or_default()
    }

    /// What went out for `path`.
    pub(crate) fn egress(&self, path: &str) -> Totals {
        let usage = self.gate.origin().usage(None).usage;
        usage.into_iter().find(|row| row.path.as_str() == path).map(|row| row.egress).unwrap_or_default()
    }

    /// Waits until `probe` holds.
    pub(crate) async fn until(&self, what: &str, mut probe: impl FnMut(&Self) -> bool) {
        let wait = async {
            while !probe(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(LIMIT, wait).await.is_ok(), "{what}: not within {LIMIT:?}");
    }

    /// A metric by name and label value; 0 if there is none.
    pub(crate) fn sample(&self, name: &str, label: &str) -> u64 {
        let samples = self.metrics.samples();
        let found =
            samples.iter().find(|s| s.name == name && s.label.is_some_and(|(_, value)| value == label));
        found.map_or(0, |sample| sample.value)
    }

    pub(crate) async fn socket(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the listener listens")
    }

    pub(crate) async fn client(&self) -> Client<TcpStream> {
        Client::new(self.socket().await).await
    }
}

/// A client after its handshake.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    writer: ChunkWriter,
    reader: ChunkReader,
    input: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) async fn new(mut stream: S) -> Self {
        stream.write_all(&ClientHandshake::hello(1)).await.expect("loopback");
        let (mut handshake, mut input) = (ClientHandshake::default(), BytesMut::new());
        loop {
            match handshake.advance(&mut input).expect("RTMP") {
                Step::More => assert!(read(&mut stream, &mut input).await > 0, "closed in the handshake"),
                Step::Reply(reply) => stream.write_all(&reply).await.expect("loopback"),
                Step::Done => break,
            }
        }
        Self { stream, writer: ChunkWriter::default(), reader: ChunkReader::default(), input }
    }

    pub(crate) async fn send(&mut self, kind: u8, stream: u32, timestamp: u32, body: impl Into<Bytes>) {
        let mut out = BytesMut::new();
        self.writer.write(3, &Message { kind, timestamp, stream, body: body.into() }, &mut out);
        self.stream.write_all(&out).await.expect("loopback");
    }

    pub(crate) async fn command(&mut self, name: &str, txn: f64, stream: u32, arguments: Vec<Value>) {
        self.send(kind::COMMAND, stream, 0, body(name, txn, arguments)).await;
    }

    /// The next message, or `None` at the end.
    pub(crate) async fn message(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.reader.read(&mut self.input).expect("legal chunks") {
                return Some(message);
            }
            if read(&mut self.stream, &mut self.input).await == 0 {
                return None;
            }
        }
    }

    /// The next command: its name, and the last of its arguments.
    pub(crate) async fn answer(&mut self) -> Option<(String, Value)> {
        loop {
            let message = self.message().await?;
            if message.kind == kind::COMMAND {
                let (mut reader, mut values) = (Reader::new(&message.body), Vec::new());
                while let Some(value) = reader.next_value().expect("legal values") {
                    values.push(value);
                }
                let name = values[0].as_text().expect("a name").to_owned();
                return Some((name, values.pop().expect("values")));
            }
        }
    }

    /// Asks to publish `key` below `app`; returns the status code.
    pub(crate) async fn publish(&mut self, app: &str, key: &str) -> String {
        self.ask("publish", app, key).await
    }

    /// `publish` or `play`.
    pub(crate) async fn ask(&mut self, verb: &str, app: &str, key: &str) -> String {
        let text = |text: &str| Value::Text(text.to_owned());
        self.command("connect", 1.0, 0, vec![object([("app", text(app))])]).await;
        self.command("createStream", 2.0, 0, vec![Value::Null]).await;
        for _ in 0..2 {
            let (name, _) = self.answer().await.expect("an answer");
            assert_eq!(name, "_result");
        }
        self.command(verb, 3.0, 1, vec![Value::Null, text(key), text("live")]).await;
        let (_, info) = self.answer().await.expect("an answer");
        info.get("code").and_then(Value::as_text).expect("a code").to_owned()
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin), input: &mut BytesMut) -> usize {
    let read = tokio::time::timeout(LIMIT, stream.read_buf(input)).await;
    // A connection that is reset is one that ended.
    read.expect("an answer in time").unwrap_or_default()
}
