//! Real peers: libsrt 1.5 through ffmpeg, srt-live-transmit and ctypes.

use std::process::Stdio;
use std::time::Duration;

use moqgate_core::{Admission, AdmissionFuture, Denied, DenyReason, OpenAdmission, Request, Secret};
use moqgate_srt::{Config, Reject};

use crate::bench::Bench;
use crate::tools::{Running, answer, ffmpeg, have, libsrt, stop_gently, url};

const PASSPHRASE: &str = "0123456789abc";

/// Refuses by the name of the broadcast, and has a passphrase of its own for `own`.
struct ByName;

impl Admission for ByName {
    fn admit<'a>(&'a self, request: &'a Request) -> AdmissionFuture<'a> {
        let reason = match request.path.as_str() {
            "bad_request" => DenyReason::BadRequest,
            "unauthorized" => DenyReason::Unauthorized,
            "forbidden" => DenyReason::Forbidden,
            "not_found" => DenyReason::NotFound,
            "conflict" => DenyReason::Conflict,
            "overloaded" => DenyReason::Overloaded,
            "unavailable" => DenyReason::Unavailable,
            name => {
                let passphrase = (name == "own").then(|| Secret::new("a passphrase of its own"));
                return Box::pin(async move {
                    let mut grant = OpenAdmission.admit(request).await?;
                    grant.passphrase = passphrase;
                    Ok(grant)
                });
            }
        };
        Box::pin(async move { Err(Denied { reason, detail: reason.to_string() }) })
    }
}

/// Runs libsrt to its end beside the listener.
async fn call(bench: &Bench, options: &str) -> String {
    let running = libsrt(bench.address, options);
    tokio::task::spawn_blocking(move || answer(running)).await.expect("libsrt ends")
}

async fn refused(bench: &Bench, options: &str, reason: i32) {
    let said = call(bench, options).await;
    assert_eq!(said, format!("{{\"connected\": false, \"reason\": {reason}}}"), "{options}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_what_libsrt_reads() {
    if !have(&["python3", "libsrt"]) {
        return;
    }
    let config = Config { play_wait: Duration::ZERO, ..Config::default() };
    let bench = Bench::with(config, ByName);
    for (name, reason) in [
        ("bad_request", 1400),
        ("unauthorized", 1401),
        ("overloaded", 1402),
        ("forbidden", 1403),
        ("not_found", 1404),
        ("conflict", 1409),
        ("unavailable", 1503),
        ("#!:x", 1400),
        ("#!::r=a,m=x", 1405),
        ("#!::r=a,m=publish,t=file", 1415),
        ("#!::r=a", 1404),
    ] {
        refused(&bench, &format!(r#"{{"streamid":"{name}"}}"#), reason).await;
    }
    refused(&bench, "{}", 1400).await;
    refused(&bench, &format!(r#"{{"streamid":"a","passphrase":"{PASSPHRASE}"}}"#), 11).await;
    refused(&bench, r#"{"streamid":"own"}"#, 11).await;
    refused(&bench, &format!(r#"{{"streamid":"own","passphrase":"{PASSPHRASE}"}}"#), 10).await;
    refused(&bench, r#"{"streamid":"a","packetfilter":"fec,cols:10,rows:5"}"#, 14).await;
    refused(&bench, r#"{"streamid":"a","transtype":1}"#, Reject::MessageApi.reason()).await;
    assert_eq!(bench.metrics.opened(), 0);
    assert_eq!(bench.sample("moqgate_srt_refused_total", "bad_secret"), 1);
    let said = call(&bench, r#"{"streamid":"own","passphrase":"a passphrase of its own"}"#).await;
    assert!(said.contains("\"connected\": true"), "{said}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn latency_is_the_larger_of_both_wishes() {
    if !have(&["python3", "libsrt"]) {
        return;
    }
    let latency = Duration::from_millis(200);
    let bench = Bench::with(Config { latency, ..Config::default() }, OpenAdmission);
    let said = call(&bench, r#"{"streamid":"a","rcvlatency":300,"peerlatency":80}"#).await;
    assert_eq!(said, r#"{"connected": true, "rcvlatency": 300, "peerlatency": 200}"#);
    let said = call(&bench, r#"{"streamid":"b","rcvlatency":120,"peerlatency":450}"#).await;
    assert_eq!(said, r#"{"connected": true, "rcvlatency": 120, "peerlatency": 450}"#);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_length_decrypts_with_and_without_a_refresh() {
    if !have(&["python3", "libsrt"]) {
        return;
    }
    let config = Config { passphrase: Some(Secret::new(PASSPHRASE)), ..Config::default() };
    let bench = Bench::with(config, OpenAdmission);
    refused(&bench, r#"{"streamid":"a"}"#, 11).await;
    refused(&bench, r#"{"streamid":"a","passphrase":"not this passphrase"}"#, 10).await;
    for key_len in ["", r#","pbkeylen":16"#, r#","pbkeylen":24"#, r#","pbkeylen":32"#] {
        let name = format!("a{}", key_len.len() + key_len.bytes().map(usize::from).sum::<usize>());
        let caller = libsrt(
            bench.address,
            &format!(
                r#"{{"streamid":"{name}","passphrase":"{PASSPHRASE}","kmrefreshrate":1000,"kmpreannounce":400,
                    "send":3000{key_len}}}"#
            ),
        );
        bench.until("all of it", |bench| bench.link(&name, "packets_unique") == 3000.0).await;
        assert_eq!(bench.link(&name, "packets_undecryptable"), 0.0);
        assert_eq!(bench.link(&name, "packets_dropped"), 0.0);
        drop(caller);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_payload_size_arrives() {
    if !have(&["python3", "libsrt"]) {
        return;
    }
    let bench = Bench::start();
    for size in [188, 1316, 1456] {
        let options = format!(r#"{{"streamid":"a{size}","payloadsize":{size},"send":200}}"#);
        let caller = libsrt(bench.address, &options);
        let name = format!("a{size}");
        bench.until("all of it", |bench| bench.link(&name, "packets_unique") == 200.0).await;
        drop(caller);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_pushes_and_leaves() {
    if !have(&["ffmpeg"]) {
        return;
    }
    let bench = Bench::start();
    let encoder = ffmpeg(&url(bench.address, "live/cam0", ""));
    bench
        .until("numbers move", |bench| {
            bench.link("live/cam0", "rtt_ms") < 50.0
                && bench.link("live/cam0", "packets_unique") > 50.0
                && bench.link("live/cam0", "buffer_ms") > 0.0
                && bench.link("live/cam0", "receive_rate_mbps") > 0.0
                && bench.link("live/cam0", "ts_packets") > 300.0
        })
        .await;
    bench.until("tracks", |bench| kinds(bench) == ["audio", "video"]).await;
    stop_gently(encoder);
    bench.until("gone", |bench| bench.metrics.live() == 0).await;
    bench.until("session gone", |bench| bench.session("live/cam0").is_none()).await;
    assert_eq!(kinds(&bench), [""; 0]);
    bench.stop().await;
}

/// Kinds of media tracks of the only broadcast, sorted.
fn kinds(bench: &Bench) -> Vec<String> {
    let broadcasts = bench.gate.origin().broadcasts();
    let tracks = broadcasts.iter().flat_map(|broadcast| &broadcast.tracks);
    let mut kinds: Vec<_> = tracks.map(|track| track.kind.to_string()).collect();
    kinds.sort();
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_encoder_is_noticed() {
    if !have(&["ffmpeg"]) {
        return;
    }
    let bench = Bench::start();
    let encoder = ffmpeg(&url(bench.address, "live/cam0", ""));
    bench.until("live", |bench| bench.link("live/cam0", "packets_unique") > 10.0).await;
    drop(encoder);
    bench.until("gone", |bench| bench.metrics.live() == 0).await;
    bench.until("session gone", |bench| bench.session("live/cam0").is_none()).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_ended_from_outside_ends_the_encoder() {
    if !have(&["ffmpeg"]) {
        return;
    }
    let bench = Bench::start();
    let mut encoder = ffmpeg(&url(bench.address, "live/cam0", ""));
    bench.until("live", |bench| bench.link("live/cam0", "packets_unique") > 10.0).await;
    let id = bench.session("live/cam0").expect("live").id;
    assert!(bench.gate.origin().kill(&id, moqgate_core::KillReason::Operator));
    bench.until("gone", |bench| bench.metrics.live() == 0).await;
    bench.until("ffmpeg noticed", |_| encoder.0.try_wait().expect("child").is_some()).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn srt_live_transmit_pushes_encrypted() {
    if !have(&["srt-live-transmit", "ffmpeg"]) {
        return;
    }
    let config = Config { passphrase: Some(Secret::new(PASSPHRASE)), ..Config::default() };
    let bench = Bench::with(config, OpenAdmission);
    let to = url(bench.address, "live/cam0", &format!("&passphrase={PASSPHRASE}&pbkeylen=32"));
    let mut encoder = std::process::Command::new("ffmpeg");
    encoder.args([
        "-nostdin",
        "-loglevel",
        "error",
        "-re",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x180:rate=25",
    ]);
    encoder.args(["-c:v", "libx264", "-preset", "ultrafast", "-f", "mpegts", "-"]);
    encoder.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut encoder = Running(encoder.spawn().expect("ffmpeg runs"));
    let mut sender = std::process::Command::new("srt-live-transmit");
    sender.args(["file://con", &to]).stdin(encoder.0.stdout.take().expect("piped"));
    sender.stdout(Stdio::null()).stderr(Stdio::null());
    let _sender = Running(sender.spawn().expect("srt-live-transmit runs"));
    bench.until("decrypted", |bench| bench.link("live/cam0", "packets_unique") > 50.0).await;
    assert_eq!(bench.link("live/cam0", "packets_undecryptable"), 0.0);
    bench.stop().await;
}
