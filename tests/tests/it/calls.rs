//! `[[push]]` and `[[pull]]`: broadcasts that go to servers elsewhere and come from there, over SRT and RTMP.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use moqgate_tests::fixture::Fixture;
use moqgate_tests::gateway::{self, Gateway};
use moqgate_tests::process::Process;
use moqgate_tests::{http, media, tools, wait};
use serde_json::Value;
use tempfile::TempDir;

use crate::RUN;

/// A configuration file, in a folder of its own.
struct Config {
    folder: TempDir,
    text: String,
}

impl Config {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), text: String::new() }
    }

    /// One more `[[push]]` or `[[pull]]`.
    fn call(mut self, way: &str, path: &str, url: &str) -> Self {
        writeln!(self.text, "[[{way}]]\npath = '{path}'\nurl = '{url}'\n")
            .expect("a String takes everything");
        self
    }

    fn write(&self) -> String {
        let file = self.folder.path().join("moqgate.toml");
        std::fs::write(&file, &self.text).expect("the file can be written");
        file.to_str().expect("a plain name").to_owned()
    }

    fn start(&self) -> Gateway {
        Gateway::start(&["--config", &self.write()])
    }
}

fn srt_publish(at: SocketAddr, path: &str) -> String {
    format!("srt://{at}?streamid=#!::r={path},m=publish")
}

fn srt_request(at: SocketAddr, path: &str) -> String {
    format!("srt://{at}?streamid=#!::r={path},m=request")
}

/// An encoder that plays into `live/cam0` of the gateway for ever.
fn encoder(gateway: &Gateway) -> Process {
    let clip = Fixture::load("bframes");
    media::push_forever(&clip.file(), &media::srt_url(gateway.srt(), "live/cam0", ""))
}

/// The session for `path` over `protocol`, if there is one.
fn session(gateway: &Gateway, protocol: &str, path: &str) -> Option<Value> {
    gateway.sessions(protocol).into_iter().find(|session| session["path"] == path)
}

fn frames_in(gateway: &Gateway, path: &str, protocol: &str) -> u64 {
    gateway.usage().ingress(path, protocol).frames
}

/// Waits until frames come in that were not there before.
#[track_caller]
fn wait_moving(gateway: &Gateway, path: &str, protocol: &str) {
    let before = frames_in(gateway, path, protocol);
    wait::until_true(&format!("frames of {path}"), RUN, || frames_in(gateway, path, protocol) > before + 50);
}

fn metric(gateway: &Gateway, name: &str) -> u64 {
    let page = http::get(gateway.http(), "/metrics").expect("an answer").text();
    let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or_default()
}

#[test]
fn pushes_and_pulls_are_sessions_like_any_other() {
    if !tools::require(&["ffmpeg"]) {
        return;
    }
    let far = Gateway::start(&[]);
    let middle = Config::new()
        .call("push", "live/cam0", &srt_publish(far.srt(), "over/srt"))
        .call("push", "live/cam0", &far.rtmp_url("over/rtmp?token=s3cret"))
        .start();
    let near = Config::new()
        .call("pull", "from/srt", &srt_request(middle.srt(), "live/cam0"))
        .call("pull", "from/rtmp", &middle.rtmp_url("live/cam0"))
        .start();
    // Nobody publishes yet: they wait.
    let waiting = wait::until("the waiting push", wait::SOON, || session(&middle, "rtmp", "live/cam0"));
    assert_eq!(waiting["direction"], "subscribe");
    let _encoder = encoder(&middle);
    for (gateway, path, protocol) in [
        (&far, "over/srt", "srt"),
        (&far, "over/rtmp", "rtmp"),
        (&near, "from/srt", "srt"),
        (&near, "from/rtmp", "rtmp"),
    ] {
        let live = wait::until(path, RUN, || gateway.broadcast(path));
        assert_eq!(live["protocol"], protocol);
        wait_moving(gateway, path, protocol);
        let tracks = gateway.wait_live(path)["tracks"].clone();
        let codecs: Vec<_> =
            tracks.as_array().expect("a list").iter().map(|track| track["codec"].as_str()).collect();
        let has = |codec: &str| codecs.iter().flatten().any(|found| found.starts_with(codec));
        assert!(codecs.len() == 2 && has("avc3.") && has("mp4a.40.2"), "{path}: {codecs:?}");
    }
    // A push is charged as a viewer of its protocol, a pull as a publisher; the pulls of the others are viewers too.
    let usage = middle.usage();
    for protocol in ["srt", "rtmp"] {
        let pushed = frames_in(&far, &format!("over/{protocol}"), protocol);
        let pulled = frames_in(&near, &format!("from/{protocol}"), protocol);
        let sent = middle.usage().egress("live/cam0", protocol).frames;
        assert!(pushed + pulled <= sent, "{protocol}: {pushed} + {pulled} of {sent}");
        assert_eq!(usage.egress("live/cam0", protocol).active.live(), 2, "{protocol}");
        assert_eq!(metric(&middle, &format!("moqgate_calls{{way=\"push\",protocol=\"{protocol}\"}}")), 1);
        assert_eq!(metric(&near, &format!("moqgate_calls{{way=\"pull\",protocol=\"{protocol}\"}}")), 1);
    }
    assert!(!middle.log().lines().iter().any(|line| line.contains("s3cret")), "keys stay out of the log");
    // One that is ended comes back.
    let before = session(&near, "rtmp", "from/rtmp").expect("live");
    near.end_session(&before);
    let after = wait::until("another session", RUN, || {
        session(&near, "rtmp", "from/rtmp").filter(|session| session["id"] != before["id"])
    });
    assert_eq!(after["direction"], "publish");
    wait_moving(&near, "from/rtmp", "rtmp");
}

#[test]
fn a_push_comes_back_when_its_server_does() {
    if !tools::require(&["ffmpeg"]) {
        return;
    }
    let mut far = Gateway::start(&[]);
    let (srt, rtmp) = (far.srt(), far.rtmp());
    let near = Config::new()
        .call("push", "live/cam0", &srt_publish(srt, "over/srt"))
        .call("push", "live/cam0", &far.rtmp_url("over/rtmp"))
        .start();
    let _encoder = encoder(&near);
    let both = ["srt", "rtmp"];
    both.iter().for_each(|protocol| wait_moving(&far, &format!("over/{protocol}"), protocol));
    far.process().kill();
    drop(far);
    wait::until_true("both are noticed", RUN, || {
        both.iter().all(|protocol| {
            metric(&near, &format!("moqgate_calls{{way=\"push\",protocol=\"{protocol}\"}}")) == 0
        })
    });
    let far = Gateway::start(&["--srt-listen", &srt.to_string(), "--rtmp-listen", &rtmp.to_string()]);
    both.iter().for_each(|protocol| wait_moving(&far, &format!("over/{protocol}"), protocol));
}

#[test]
fn a_pull_comes_back_when_its_server_does() {
    if !tools::require(&["ffmpeg"]) {
        return;
    }
    let mut far = Gateway::start(&[]);
    let (srt, rtmp) = (far.srt(), far.rtmp());
    let near = Config::new()
        .call("pull", "from/srt", &srt_request(srt, "live/cam0"))
        .call("pull", "from/rtmp", &far.rtmp_url("live/cam0"))
        .start();
    let first = encoder(&far);
    let both = ["srt", "rtmp"];
    both.iter().for_each(|protocol| wait_moving(&near, &format!("from/{protocol}"), protocol));
    far.process().kill();
    drop((far, first));
    both.iter().for_each(|protocol| {
        wait::until_true("it is over", RUN, || near.broadcast(&format!("from/{protocol}")).is_none());
    });
    let far = Gateway::start(&["--srt-listen", &srt.to_string(), "--rtmp-listen", &rtmp.to_string()]);
    let _second = encoder(&far);
    both.iter().for_each(|protocol| wait_moving(&near, &format!("from/{protocol}"), protocol));
}

/// A port that was free a moment ago, for programs that cannot say which one they took.
fn free_port() -> SocketAddr {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("an address")
}

/// libsrt's own tool, listening, with what comes in `file`.
fn live_transmit(at: SocketAddr, more: &str, file: &Path) -> Process {
    let mut command = Command::new(tools::program("srt-live-transmit"));
    command.args(["-q", &format!("srt://{at}?mode=listener{more}"), "file://con"]);
    Process::start_into("srt-live-transmit", &mut command, file)
}

#[test]
fn an_encrypted_push_to_libsrt() {
    if !tools::require(&["ffmpeg", "ffprobe", "srt-live-transmit"]) {
        return;
    }
    let at = free_port();
    let folder = tempfile::tempdir().expect("a folder");
    let files = ["first.ts", "second.ts"].map(|name| folder.path().join(name));
    let secret = "&passphrase=correct-horse&pbkeylen=32";
    let near = Config::new().call("push", "live/cam0", &format!("srt://{at}?latency=200{secret}")).start();
    let _encoder = encoder(&near);
    let is_long = |file: &Path| file.metadata().is_ok_and(|file| file.len() > 200_000);
    for file in &files {
        let mut listener = live_transmit(at, secret, file);
        wait::until_true("a file", RUN, || is_long(file));
        listener.kill();
    }
    for file in &files {
        let content = media::content(file);
        assert_eq!(content.keys().collect::<Vec<_>>(), ["aac", "h264"]);
        assert!(content.values().all(|stream| stream.frames.len() > 20));
    }
}

#[test]
fn a_stop_says_goodbye_to_servers_elsewhere() {
    if !tools::require(&["ffmpeg"]) {
        return;
    }
    let far = Gateway::start(&[]);
    let mut near = Config::new()
        .call("push", "live/cam0", &srt_publish(far.srt(), "over/srt"))
        .call("push", "live/cam0", &far.rtmp_url("over/rtmp"))
        .call("pull", "back", &far.rtmp_url("over/rtmp"))
        .start();
    let _encoder = encoder(&near);
    for (gateway, path, protocol) in
        [(&far, "over/srt", "srt"), (&far, "over/rtmp", "rtmp"), (&near, "back", "rtmp")]
    {
        wait_moving(gateway, path, protocol);
    }
    near.process().terminate();
    let status = near.process().wait(RUN);
    assert_eq!(status.code(), Some(0), "{status}");
    ["over/srt", "over/rtmp"].iter().for_each(|path| far.wait_gone(path));
    let broken = metric(&far, "moqgate_rtmp_failed_total{kind=\"disconnected\"}");
    assert_eq!(broken, 0, "no connection was cut");
}

#[test]
fn what_cannot_be_called_is_one_line() {
    for (way, path, url, word) in [
        ("push", "live/cam0", "http://h/app/key", "rtmp://"),
        ("push", "live/cam0", "rtmp://h/s3cret", "stream key"),
        ("push", "", "srt://h:1", "push"),
        ("pull", "live/cam0", "srt://h", "port"),
        ("pull", "live/cam0", "srt://h:1?mode=listener&passphrase=s3cret-s3cret", "mode=caller"),
    ] {
        let config = Config::new().call(way, path, url);
        let output =
            gateway::command(&["--config", &config.write()]).stdin(Stdio::null()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{url}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{url}: {said}");
        assert!(said.contains(way) && said.contains(word) && !said.contains("s3cret"), "{url}: {said}");
    }
}
