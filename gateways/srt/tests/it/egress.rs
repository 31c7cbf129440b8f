//! Playback to real players.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use moqgate_core::{OpenAdmission, Secret};
use moqgate_srt::wire::{Ack, AckDetail, ControlBody, Packet, Seq};
use moqgate_srt::{Config, Reject};

use crate::bench::{Bench, Caller, Phone, blocks};
use crate::tools::{Running, ffmpeg, have, stop_gently, url};

const PASSPHRASE: &str = "0123456789abc";

/// Two seconds of the broadcast as a player sees it: ffprobe's packets of both tracks, `kind,flags`.
fn probe(address: SocketAddr, name: &str, more: &str) -> Running {
    let mut command = Command::new("ffprobe");
    command.args([
        "-v",
        "error",
        "-read_intervals",
        "%+2",
        "-show_entries",
        "packet=codec_type,dts_time,flags",
    ]);
    command.args(["-of", "csv=p=0", &url(address, &format!("#!::r={name},m=request"), more)]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running(command.spawn().expect("ffprobe runs"))
}

/// What it said, and what it complained about.
async fn output(mut running: Running) -> (String, String) {
    let work = move || {
        let mut said = (String::new(), String::new());
        let (out, err) = (running.0.stdout.take(), running.0.stderr.take());
        std::io::Read::read_to_string(&mut out.expect("piped"), &mut said.0).expect("text");
        std::io::Read::read_to_string(&mut err.expect("piped"), &mut said.1).expect("text");
        said
    };
    tokio::task::spawn_blocking(work).await.expect("it ends")
}

/// The packets of one kind: decoding time in seconds, and whether it is a keyframe.
fn packets(said: &str, kind: &str) -> Vec<(f64, bool)> {
    let lines = said.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(','));
    lines
        .filter_map(|line| {
            let (time, flags) = line.split_once(',')?;
            Some((time.parse().ok()?, flags.starts_with('K')))
        })
        .collect()
}

fn plays(said: &(String, String)) {
    assert_eq!(said.1, "", "no complaints");
    let (video, audio) = (packets(&said.0, "video"), packets(&said.0, "audio"));
    assert!(video.len() >= 40 && audio.len() >= 60, "{} and {} packets", video.len(), audio.len());
    assert!(video[0].1, "starts on a keyframe");
    assert!(
        video.windows(2).all(|pair| (pair[1].0 - pair[0].0 - 0.04).abs() < 0.002),
        "no picture is missing"
    );
    assert!(audio.windows(2).all(|pair| (pair[1].0 - pair[0].0 - 1024.0 / 44_100.0).abs() < 0.002));
    assert!((audio[0].0 - video[0].0).abs() < 0.1, "sound begins with the picture");
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_plays_from_a_keyframe() {
    if !have(&["ffmpeg", "ffprobe"]) {
        return;
    }
    let bench = Bench::start();
    let _encoder = ffmpeg(&url(bench.address, "live/cam0", ""));
    bench.until("live", |bench| bench.link("live/cam0", "packets_unique") > 50.0).await;
    plays(&output(probe(bench.address, "live/cam0", "")).await);
    bench.until("the player left", |bench| bench.metrics.live() == 1).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_may_come_before_its_publisher() {
    if !have(&["ffmpeg", "ffprobe"]) {
        return;
    }
    let bench = Bench::start();
    let player = probe(bench.address, "live/cam0", "");
    bench.until("waiting", |bench| bench.metrics.live() == 1).await;
    let _encoder = ffmpeg(&url(bench.address, "live/cam0", ""));
    plays(&output(player).await);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_of_nothing_is_shut_down_after_its_wait() {
    let config = Config { play_wait: Duration::from_millis(200), ..Config::default() };
    let bench = Bench::with(config, OpenAdmission);
    let caller = Caller { id: 7, seq: 100 };
    let mut phone = Phone::new(bench.address).await;
    phone.publish(caller, "#!::r=live/nobody,m=request").await;
    loop {
        if let Packet::Control(control) = phone.receive(caller.id).await
            && matches!(control.body, ControlBody::Shutdown)
        {
            break;
        }
    }
    bench.until("gone", |bench| bench.metrics.live() == 0).await;
    bench.stop().await;

    let bench = Bench::with(Config { play_wait: Duration::ZERO, ..Config::default() }, OpenAdmission);
    let mut phone = Phone::new(bench.address).await;
    let reply = phone.call(caller, &blocks("read:live/nobody")).await;
    assert_eq!(reply.kind, Reject::NotFound.wire());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_stays_while_its_publisher_comes_back() {
    if !have(&["ffmpeg", "ffprobe"]) {
        return;
    }
    let bench = Bench::start();
    let first = ffmpeg(&url(bench.address, "live/cam0", ""));
    bench.until("live", |bench| bench.link("live/cam0", "packets_unique") > 150.0).await;
    let mut player = Command::new("ffmpeg");
    player.args(["-v", "warning", "-i", &url(bench.address, "#!::r=live/cam0,m=request", "")]);
    player.args(["-frames:v", "120", "-f", "framecrc", "-"]);
    player.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let player = Running(player.spawn().expect("ffmpeg runs"));
    bench.until("it plays", |bench| egress(bench).1 > 100).await;
    stop_gently(first);
    bench.until("the publisher left", |bench| bench.metrics.live() == 1).await;
    let _second = ffmpeg(&url(bench.address, "live/cam0", ""));
    let (said, complaints) = output(player).await;
    let pictures = said.lines().filter(|line| line.starts_with("0,")).count();
    assert_eq!(pictures, 120, "{complaints}");
    assert!(!complaints.contains("corrupt") && !complaints.contains("Continuity"), "{complaints}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn playback_is_encrypted_with_the_keys_of_the_player() {
    if !have(&["ffmpeg", "ffprobe"]) {
        return;
    }
    let config = Config { passphrase: Some(Secret::new(PASSPHRASE)), ..Config::default() };
    let bench = Bench::with(config, OpenAdmission);
    let secret = format!("&passphrase={PASSPHRASE}");
    let _encoder = ffmpeg(&url(bench.address, "live/cam0", &secret));
    bench.until("live", |bench| bench.link("live/cam0", "packets_unique") > 50.0).await;
    for key_len in ["", "&pbkeylen=32"] {
        plays(&output(probe(bench.address, "live/cam0", &format!("{secret}{key_len}"))).await);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn srt_live_transmit_plays_and_usage_is_what_was_sent() {
    if !have(&["ffmpeg", "ffprobe", "srt-live-transmit"]) {
        return;
    }
    let bench = Bench::with(Config { play_wait: Duration::ZERO, ..Config::default() }, OpenAdmission);
    let encoder = ffmpeg(&url(bench.address, "live/cam0", ""));
    bench.until("live", |bench| bench.link("live/cam0", "packets_unique") > 50.0).await;
    let mut player = Command::new("srt-live-transmit");
    // Otherwise it calls again.
    player.args(["-a:no", &url(bench.address, "#!::r=live/cam0,m=request", ""), "file://con"]);
    player.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut player = Running(player.spawn().expect("srt-live-transmit runs"));
    let mut out = player.0.stdout.take().expect("piped");
    let stream = tokio::task::spawn_blocking(move || {
        let mut stream = Vec::new();
        std::io::Read::read_to_end(&mut out, &mut stream).map(|_| stream)
    });
    bench.until("it plays", |bench| egress(bench).1 > 100).await;
    drop(encoder);
    bench.until("the player was shut down", |bench| bench.metrics.live() == 0).await;
    let (bytes, frames) = egress(&bench);
    drop(player);
    let stream = stream.await.expect("it ends").expect("a stream");
    let file = std::env::temp_dir().join(format!("moqgate-srt-egress-{}.ts", std::process::id()));
    std::fs::write(&file, &stream).expect("a file");
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-show_entries", "packet=codec_type,size", "-of", "csv=p=0"]).arg(&file);
    probe.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (said, complaints) = output(Running(probe.spawn().expect("ffprobe runs"))).await;
    std::fs::remove_file(&file).ok();
    assert_eq!(complaints, "");
    let media = said.lines().filter(|line| line.starts_with("video") || line.starts_with("audio")).count();
    // The catalog is a frame too.
    assert_eq!(media as u64 + 1, frames, "{bytes} bytes");
    bench.stop().await;
}

/// Bytes and frames that players were charged for.
fn egress(bench: &Bench) -> (u64, u64) {
    let usage = bench.gate.origin().usage(None);
    let rows = usage.usage.iter().map(|row| (row.egress.bytes, row.egress.frames));
    rows.fold((0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_takes_nothing_leaves_the_rest_in_the_model() {
    if !have(&["ffmpeg"]) {
        return;
    }
    let bench = Bench::start();
    let _encoder = ffmpeg(&url(bench.address, "live/cam0", ""));
    bench.until("live", |bench| bench.link("live/cam0", "packets_unique") > 50.0).await;
    let caller = Caller { id: 7, seq: 100 };
    let mut phone = Phone::new(bench.address).await;
    let id = phone.publish(caller, "#!::r=live/cam0,m=request").await;
    // Its buffer is full from the first packet on.
    let mut next = received(&mut phone, caller).await.next();
    let mut stands_still = (0, egress(&bench));
    // A second and a half without any: nothing leaves the model any more, though the stream goes on.
    while stands_still.0 < 15 {
        phone.control(id, ack(1, next, 0)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = egress(&bench);
        stands_still = if now == stands_still.1 { (stands_still.0 + 1, now) } else { (0, now) };
    }
    let (bytes, _) = stands_still.1;
    assert!(bytes < 1_500_000, "{bytes} bytes left the model");
    // The buffer opens, and it goes on.
    let open = egress(&bench).1;
    let mut number = 1;
    while egress(&bench).1 < open + 100 {
        number += 1;
        phone.control(id, ack(number, next, 8192)).await;
        let seq = received(&mut phone, caller).await;
        if !next.is_after(seq) {
            next = seq.next();
        }
    }
    bench.stop().await;
}

/// The sequence number of the next data packet.
async fn received(phone: &mut Phone, caller: Caller) -> Seq {
    loop {
        if let Packet::Data(data) = phone.receive(caller.id).await {
            return data.seq;
        }
    }
}

fn ack(number: u32, next: Seq, free: u32) -> ControlBody {
    let detail = Some(AckDetail { rtt: 1_000, rtt_var: 100, free, rates: None });
    ControlBody::Ack(Ack { number, next, detail })
}
