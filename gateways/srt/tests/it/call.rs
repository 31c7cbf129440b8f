//! Callers: two gateways, and listeners of others.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use moqgate_core::{Gate, OpenAdmission, Origin, OriginConfig, Path, Secret};
use moqgate_srt::{Caller, CallerConfig, Config, Remote, Way};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bench::Bench;
use crate::tools::{Running, ffmpeg, have, url};

const PASSPHRASE: &str = "0123456789abc";

fn path(text: &str) -> Path {
    Path::new(text).expect("path")
}

/// A caller that runs until the value is stopped.
struct Call {
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Call {
    fn start(gate: &Gate, way: Way, address: SocketAddr, stream_id: &str, secret: bool, name: &str) -> Self {
        let mut remote = Remote::new(&address.to_string());
        stream_id.clone_into(&mut remote.stream_id);
        remote.passphrase = secret.then(|| Secret::new(PASSPHRASE));
        remote.key_length = 32;
        let backoff_min = Duration::from_millis(50);
        let config = CallerConfig { backoff_min, ..CallerConfig::new(way, remote, path(name)) };
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(Caller::new(config, gate.clone()).run(shutdown.clone()));
        Self { shutdown, tasks }
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        self.tasks.join_next().await.expect("one task").expect("no panic");
    }
}

fn gate() -> Gate {
    Gate::new(Origin::new(OriginConfig::default()), std::sync::Arc::new(OpenAdmission))
}

fn tracks(gate: &Gate, name: &str) -> usize {
    let broadcasts = gate.origin().broadcasts();
    broadcasts.iter().filter(|found| found.path.as_str() == name).map(|found| found.tracks.len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn push_and_pull_between_gateways_and_again_after_an_end() {
    if !have(&["ffmpeg"]) {
        return;
    }
    for secret in [false, true] {
        let config = Config { passphrase: secret.then(|| Secret::new(PASSPHRASE)), ..Config::default() };
        let bench = Bench::with(config, OpenAdmission);
        let more = if secret { format!("&passphrase={PASSPHRASE}") } else { String::new() };
        let _encoder = ffmpeg(&url(bench.address, "live/cam0", &more));
        let far = gate();
        let pull = Call::start(&far, Way::Pull, bench.address, "#!::r=live/cam0,m=request", secret, "pulled");
        bench.until("pulled", |_| tracks(&far, "pulled") == 2).await;
        let push = Call::start(&far, Way::Push, bench.address, "#!::r=back,m=publish", secret, "pulled");
        bench.until("pushed back", |bench| tracks(&bench.gate, "back") == 2).await;
        let id = bench.session("back").expect("live").id;
        assert!(bench.gate.origin().kill(&id, moqgate_core::KillReason::Operator));
        bench
            .until("pushed again", |bench| {
                bench.session("back").is_some_and(|session| session.id != id)
                    && tracks(&bench.gate, "back") == 2
            })
            .await;
        push.stop().await;
        pull.stop().await;
        assert_eq!(far.origin().sessions().len(), 0);
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_from_a_listener_of_libsrt() {
    if !have(&["ffmpeg"]) {
        return;
    }
    let bench = Bench::start();
    // A port that was free a moment ago: ffmpeg cannot say which one it took.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("address");
    drop(socket);
    let _listener = ffmpeg(&format!("srt://{address}?mode=listener"));
    let pull = Call::start(&bench.gate, Way::Pull, address, "", false, "pulled");
    bench.until("pulled", |bench| tracks(&bench.gate, "pulled") == 2).await;
    pull.stop().await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_to_a_listener_of_libsrt() {
    if !have(&["ffmpeg", "ffprobe"]) {
        return;
    }
    let bench = Bench::start();
    let _encoder = ffmpeg(&url(bench.address, "live/cam0", ""));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("address");
    drop(socket);
    let mut listener = Command::new("ffprobe");
    listener.args([
        "-v",
        "error",
        "-read_intervals",
        "%+1",
        "-show_entries",
        "packet=codec_type",
        "-of",
        "csv=p=0",
    ]);
    listener.arg(format!("srt://{address}?mode=listener")).stdin(Stdio::null());
    listener.stdout(Stdio::piped()).stderr(Stdio::piped());
    let listener = Running(listener.spawn().expect("ffprobe runs"));
    let push = Call::start(&bench.gate, Way::Push, address, "", false, "live/cam0");
    let said = tokio::task::spawn_blocking(move || crate::tools::answer(listener)).await.expect("it ends");
    assert!(said.lines().filter(|line| line.starts_with("video")).count() >= 20, "{said}");
    assert!(said.lines().filter(|line| line.starts_with("audio")).count() >= 30, "{said}");
    push.stop().await;
    bench.stop().await;
}
