//! Callers: two gateways, and servers of others.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use moqgate_core::{CallCounters, Gate, KillReason, OpenAdmission, Origin, OriginConfig, Path};
use moqgate_mux::flv::{File, Tag, TagKind};
use moqgate_rtmp::proto::amf0::Value;
use moqgate_rtmp::proto::chunk::{ChunkReader, ChunkWriter};
use moqgate_rtmp::proto::command::{self, Said, object};
use moqgate_rtmp::proto::handshake::{ServerHandshake, Step};
use moqgate_rtmp::proto::message::{Message, kind};
use moqgate_rtmp::{Caller, CallerConfig, Config, Remote, Way};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bench::Bench;
use crate::tls::certificate;
use crate::tools::{Running, new_ffmpeg, push, run, system_ffmpeg};

const H264_AAC: &str = "-c:v libx264 -preset ultrafast -g 25 -bf 2 -c:a aac";
const HEVC_AAC: &str = "-c:v libx265 -preset ultrafast -x265-params log-level=error -g 25 -c:a aac";

/// A caller that runs until the value is stopped.
struct Call {
    shutdown: CancellationToken,
    counters: CallCounters,
    tasks: JoinSet<()>,
}

impl Call {
    fn start(gate: &Gate, way: Way, url: &str, path: &str) -> Self {
        Self::with(gate, way, url, path, None)
    }

    fn with(gate: &Gate, way: Way, url: &str, path: &str, tls: Option<Arc<ClientConfig>>) -> Self {
        let remote = Remote::parse(url).expect("an address");
        let path = Path::new(path).expect("a path");
        let backoff_min = Duration::from_millis(50);
        let backoff_max = Duration::from_millis(200);
        let config = CallerConfig { tls, backoff_min, backoff_max, ..CallerConfig::new(way, remote, path) };
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let caller = Caller::new(config, gate.clone());
        let counters = caller.counters();
        tasks.spawn(caller.run(shutdown.clone()));
        Self { shutdown, counters, tasks }
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        let end = tokio::time::timeout(crate::bench::LIMIT, self.tasks.join_next()).await;
        end.expect("it stops").expect("one task").expect("no panic");
        assert_eq!(self.counters.live(), 0);
    }
}

/// Another gateway, which listens to nothing.
fn far() -> Gate {
    Gate::new(Origin::new(OriginConfig::default()), Arc::new(OpenAdmission))
}

fn codecs(gate: &Gate, path: &str) -> Vec<String> {
    let broadcasts = gate.origin().broadcasts();
    let found = broadcasts.into_iter().find(|found| found.path.as_str() == path);
    let mut codecs: Vec<_> =
        found.into_iter().flat_map(|found| found.tracks).map(|track| track.codec).collect();
    codecs.sort();
    codecs
}

/// A port that was free a moment ago: ffmpeg cannot say which one it took.
fn free_port() -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("an address")
}

/// ffmpeg as a server that takes one publisher, and copies what it gets into `file`.
fn listen(ffmpeg: &PathBuf, url: &str, file: &str) -> Running {
    run(ffmpeg, &["-listen", "1", "-i", url, "-c", "copy", "-f", "flv", file])
}

/// Waits for the end of such a server: it says "Input/output error" to the end of any connection, its own client's too.
async fn served(server: Running) {
    let output = server.output().await;
    let said = String::from_utf8_lossy(&output.stderr);
    let odd = said.lines().find(|line| !line.ends_with(": Input/output error"));
    assert!(output.status.success() && odd.is_none(), "{said}");
}

fn frames(gate: &Gate, path: &str) -> (u64, u64, u64, u64) {
    let usage = gate.origin().usage(None).usage;
    let rows = usage.iter().filter(|row| row.path.as_str() == path);
    rows.fold((0, 0, 0, 0), |sum, row| {
        let (i, e) = (&row.ingress, &row.egress);
        (sum.0 + i.frames, sum.1 + i.bytes, sum.2 + e.frames, sum.3 + e.bytes)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn push_and_pull_between_gateways_and_again_after_an_end() {
    let Some(ffmpeg) = system_ffmpeg() else { return };
    let bench = Bench::start();
    let _encoder = push(&ffmpeg, H264_AAC, &bench.url("live/cam0"));
    let far = far();
    let pull = Call::start(&far, Way::Pull, &bench.url("live/cam0"), "pulled");
    bench.until("pulled", |_| codecs(&far, "pulled").len() == 2).await;
    let back = Call::start(&far, Way::Push, &bench.url("a/back?token=x"), "pulled");
    bench.until("pushed back", |bench| bench.codecs("a/back").len() == 2).await;
    assert_eq!((pull.counters.live(), back.counters.live()), (1, 1));
    let pushes: Vec<_> = far.origin().sessions().iter().map(|session| session.direction).collect();
    assert_eq!(pushes.len(), 2, "both are sessions like any other");
    // Ended there, and ended here.
    let there = bench.session("a/back").expect("live").id;
    assert!(bench.gate.origin().kill(&there, KillReason::Operator));
    bench.until("it is called again", |_| back.counters.attempts() == 2).await;
    bench.until("pushed again", |bench| bench.codecs("a/back").len() == 2).await;
    let here = far.origin().sessions().into_iter().find(|session| session.path.as_str() == "pulled");
    assert!(far.origin().kill(&here.expect("live").id, KillReason::Operator));
    bench
        .until("all is back", |bench| bench.codecs("a/back").len() == 2 && codecs(&far, "pulled").len() == 2)
        .await;
    // What goes out here is what comes in there.
    back.stop().await;
    bench.until("nothing is pushed", |bench| bench.broadcast("a/back").is_none()).await;
    let (sent, received) = (frames(&far, "pulled"), frames(&bench.gate, "a/back"));
    assert!(sent.2 >= received.0 && received.0 > 0, "{sent:?} {received:?}");
    pull.stop().await;
    assert_eq!(far.origin().sessions().len(), 0);
    assert!(far.origin().broadcasts().is_empty());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_goes_on_when_its_publisher_and_its_server_come_back() {
    let Some(ffmpeg) = system_ffmpeg() else { return };
    let bench = Bench::start();
    let address = free_port();
    let url = format!("rtmp://{address}/live/out");
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    // Nobody publishes, nobody listens.
    let call = Call::start(&bench.gate, Way::Push, &url, "live/cam0");
    let encoder = push(&ffmpeg, H264_AAC, &bench.url("live/cam0"));
    bench.until("it is refused", |_| call.counters.failures() > 0).await;
    let first = listen(&ffmpeg, &url, &file("first.flv"));
    bench.until("it is taken", |_| call.counters.live() == 1).await;
    bench.until("it is sent", |bench| frames(&bench.gate, "live/cam0").2 > 50).await;
    drop(first);
    bench.until("the server has gone", |_| call.counters.live() == 0).await;
    let second = listen(&ffmpeg, &url, &file("second.flv"));
    bench.until("it is taken again", |_| call.counters.live() == 1).await;
    let before = frames(&bench.gate, "live/cam0").2;
    bench.until("it is sent again", |bench| frames(&bench.gate, "live/cam0").2 > before + 50).await;
    // The publisher ends: the server is told.
    drop(encoder);
    served(second).await;
    let check = run(&ffmpeg, &["-xerror", "-i", &file("second.flv"), "-f", "null", "-"]).output().await;
    assert!(check.status.success() && check.stderr.is_empty(), "{check:?}");
    call.stop().await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_from_ffmpeg() {
    let Some(ffmpeg) = system_ffmpeg() else { return };
    let bench = Bench::start();
    let address = free_port();
    let url = format!("rtmp://{address}/live/in");
    let server = || push(&ffmpeg, &format!("{H264_AAC} -listen 1"), &url);
    let call = Call::start(&bench.gate, Way::Pull, &url, "live/cam0");
    for _ in 0..2 {
        let running = server();
        bench.until("pulled", |bench| bench.codecs("live/cam0").len() == 2).await;
        let before = frames(&bench.gate, "live/cam0").0;
        bench.until("frames", |bench| frames(&bench.gate, "live/cam0").0 > before + 50).await;
        drop(running);
        bench.until("it is over", |bench| bench.broadcast("live/cam0").is_none()).await;
    }
    call.stop().await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_sent_only_what_it_knows() {
    let (Some(old), Some(new)) = (system_ffmpeg(), new_ffmpeg()) else { return };
    let bench = Bench::start();
    let _encoder = push(&new, HEVC_AAC, &bench.url("live/cam0"));
    bench.until("published", |bench| bench.codecs("live/cam0").len() == 2).await;
    // One that says nothing of what it knows is sent the sound alone.
    let url = format!("rtmp://{}/live/out", free_port());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("out.flv").to_string_lossy().into_owned();
    let server = listen(&old, &url, &file);
    let call = Call::start(&bench.gate, Way::Push, &url, "live/cam0");
    bench.until("it is taken", |_| call.counters.live() == 1).await;
    bench.until("it is sent", |bench| frames(&bench.gate, "live/cam0").2 > 50).await;
    call.stop().await;
    served(server).await;
    let written = std::fs::read(folder.path().join("out.flv")).expect("a file");
    assert!(written.len() > 1000 && !written.windows(4).any(|word| word == b"hvc1"));
    // Our own says that it takes everything.
    let far = Bench::start();
    let call = Call::start(&bench.gate, Way::Push, &far.url("live/out"), "live/cam0");
    far.until("both", |far| far.codecs("live/out").len() == 2).await;
    assert!(far.codecs("live/out")[0].starts_with("hev1."), "{:?}", far.codecs("live/out"));
    call.stop().await;
    far.stop().await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_waits_for_a_path_that_is_taken() {
    let Some(ffmpeg) = system_ffmpeg() else { return };
    let (bench, far) = (Bench::with(Config::default(), OpenAdmission), Bench::start());
    let _remote = push(&ffmpeg, H264_AAC, &far.url("live/cam0"));
    let local = push(&ffmpeg, H264_AAC, &bench.url("live/cam0"));
    bench.until("published", |bench| bench.codecs("live/cam0").len() == 2).await;
    far.until("published", |far| far.codecs("live/cam0").len() == 2).await;
    let call = Call::start(&bench.gate, Way::Pull, &far.url("live/cam0"), "live/cam0");
    bench.until("it is refused", |_| call.counters.failures() > 0).await;
    drop(local);
    bench.until("pulled", |bench| call.counters.live() == 1 && bench.codecs("live/cam0").len() == 2).await;
    call.stop().await;
    far.stop().await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_tls_believe_one_certificate() {
    let Some(ffmpeg) = system_ffmpeg() else { return };
    let (server, believes) = certificate();
    let far = Bench::with(Config { tls: Some(server), ..Config::default() }, OpenAdmission);
    let bench = Bench::start();
    let _encoder = push(&ffmpeg, H264_AAC, &bench.url("live/cam0"));
    let url = |path: &str| format!("rtmps://localhost:{}/{path}", far.address.port());
    let call = Call::with(&bench.gate, Way::Push, &url("live/out"), "live/cam0", Some(believes));
    // Another authority's.
    let (_, believes) = certificate();
    let stranger = Call::with(&bench.gate, Way::Push, &url("live/never"), "live/cam0", Some(believes));
    far.until("pushed", |far| far.codecs("live/out").len() == 2).await;
    far.until("not believed", |_| stranger.counters.failures() > 0).await;
    assert!(far.broadcast("live/never").is_none());
    stranger.stop().await;
    call.stop().await;
    bench.stop().await;
    far.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_pushed_to_its_end() {
    let Some(ffmpeg) = system_ffmpeg() else { return };
    let bench = Bench::start();
    let url = format!("rtmp://{}/live/out", free_port());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("out.flv");
    let server = listen(&ffmpeg, &url, &file.to_string_lossy());
    let call = Call::start(&bench.gate, Way::Push, &url, "live/cam0");
    let encoder = push(&ffmpeg, &format!("{H264_AAC} -t 4"), &bench.url("live/cam0"));
    assert!(encoder.output().await.status.success());
    served(server).await;
    let data = std::fs::read(&file).expect("a file");
    let tags = File::new(data.into()).expect("a file of tags");
    // AVC pictures.
    let is_picture = |tag: &Tag| tag.kind == TagKind::Video && tag.body[..2].ends_with(&[1]);
    let pictures = tags.filter(is_picture).count();
    // It begins with a group of 25, and loses nothing of the last one.
    assert!(pictures >= 50 && pictures % 25 == 0, "{pictures}");
    call.stop().await;
    bench.stop().await;
}

/// A server that asks for a user as Adobe's do: the application of each `connect` goes to `seen`.
async fn adobe(listener: tokio::net::TcpListener, seen: tokio::sync::mpsc::Sender<String>) {
    const NEEDED: &str = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ";
    const QUESTION: &str =
        "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=needauth&salt=abc&challenge=chal";
    for said in [NEEDED, QUESTION, "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=authfailed"] {
        let (mut stream, _) = listener.accept().await.expect("a caller");
        let (mut handshake, mut input) = (ServerHandshake::default(), BytesMut::new());
        let mut reader = ChunkReader::default();
        loop {
            match handshake.advance(&mut input, 1).expect("RTMP") {
                Step::Reply(reply) => stream.write_all(&reply).await.expect("loopback"),
                Step::Done => break,
                Step::More => assert!(stream.read_buf(&mut input).await.expect("loopback") > 0),
            }
        }
        let mut message = None;
        while message.is_none() {
            message = reader.read(&mut input).expect("legal chunks");
            if message.is_none() {
                assert!(stream.read_buf(&mut input).await.expect("loopback") > 0);
            }
        }
        let connect = Said::parse(&message.expect("one").body, false).expect("legal values");
        let app = connect.arguments[0].get("app").and_then(Value::as_text).expect("an application");
        seen.send(app.to_owned()).await.expect("somebody looks");
        let info = object([
            ("level", Value::Text("error".to_owned())),
            ("description", Value::Text(said.to_owned())),
        ]);
        let body = command::body("_error", 1.0, vec![Value::Null, info]);
        let mut out = BytesMut::new();
        ChunkWriter::default().write(
            3,
            &Message { kind: kind::COMMAND, timestamp: 0, stream: 0, body },
            &mut out,
        );
        stream.write_all(&out).await.expect("loopback");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_user_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("rtmp://joe:s3cret@{}/live/cam0", listener.local_addr().expect("an address"));
    let (sender, mut seen) = tokio::sync::mpsc::channel(3);
    let mut server = JoinSet::new();
    server.spawn(adobe(listener, sender));
    let call = Call::start(&far(), Way::Pull, &url, "live/cam0");
    let mut apps = Vec::new();
    while apps.len() < 3 {
        apps.push(
            tokio::time::timeout(crate::bench::LIMIT, seen.recv()).await.expect("it calls").expect("a call"),
        );
    }
    assert_eq!(apps[..2], ["live", "live?authmod=adobe&user=joe"]);
    assert!(apps[2].starts_with("live?authmod=adobe&user=joe&challenge="), "{apps:?}");
    assert_eq!(call.counters.attempts(), 1, "one call in three connections");
    call.stop().await;
}
