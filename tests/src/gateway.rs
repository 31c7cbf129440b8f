//! A running `moqgate`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::process::{Log, Process};
use crate::usage::Report;
use crate::{http, wait};

/// A gateway on ports of its own choice on 127.0.0.1. Dropping it kills it, and fails the test if it has logged an
/// error or panicked.
pub struct Gateway {
    process: Process,
    ready: Ready,
}

/// The addresses of the `ready` line.
struct Ready {
    moq: SocketAddr,
    srt: SocketAddr,
    rtmp: SocketAddr,
    webrtc: SocketAddr,
    http: SocketAddr,
}

impl Gateway {
    /// Starts a gateway with more arguments than the listeners and waits until it is ready.
    ///
    /// # Panics
    ///
    /// When it does not become ready, or its `ready` line lacks an address.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        let process = Process::start("moqgate", &mut command(arguments));
        let line = wait::until("the ready line of moqgate", wait::SOON, || {
            process.log().lines().into_iter().find(|line| line.starts_with("ready"))
        });
        let address = |key: &str| -> SocketAddr {
            let prefix = format!("{key}=");
            let value = line.split_whitespace().find_map(|word| word.strip_prefix(&prefix));
            value
                .and_then(|value| value.parse().ok())
                .unwrap_or_else(|| panic!("no {key} address in {line:?}"))
        };
        let ready = Ready {
            moq: address("moq"),
            srt: address("srt"),
            rtmp: address("rtmp"),
            webrtc: address("webrtc"),
            http: address("http"),
        };
        Self { process, ready }
    }

    /// The URL at which viewers and native publishers connect.
    #[must_use]
    pub fn moq_url(&self) -> String {
        format!("http://{}/", self.ready.moq)
    }

    /// The SRT listener.
    #[must_use]
    pub fn srt(&self) -> SocketAddr {
        self.ready.srt
    }

    /// The RTMP listener.
    #[must_use]
    pub fn rtmp(&self) -> SocketAddr {
        self.ready.rtmp
    }

    /// The URL at which RTMP publishers and players find `path`.
    #[must_use]
    pub fn rtmp_url(&self, path: &str) -> String {
        format!("rtmp://{}/{path}", self.ready.rtmp)
    }

    /// The MoQ listener, UDP and TCP.
    #[must_use]
    pub fn moq(&self) -> SocketAddr {
        self.ready.moq
    }

    /// The WebRTC media port, UDP and TCP.
    #[must_use]
    pub fn webrtc(&self) -> SocketAddr {
        self.ready.webrtc
    }

    /// The HTTP API.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.ready.http
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Log {
        self.process.log()
    }

    /// The process.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// `GET path` as JSON.
    ///
    /// # Panics
    ///
    /// When the answer is not 200 with JSON.
    #[must_use]
    pub fn api(&self, path: &str) -> Value {
        let response = http::get(self.ready.http, path).unwrap_or_else(|| panic!("no answer to GET {path}"));
        assert_eq!(response.status, 200, "GET {path}: {}", response.text());
        response.json()
    }

    /// The usage report.
    ///
    /// # Panics
    ///
    /// When it does not have the documented shape.
    #[must_use]
    pub fn usage(&self) -> Report {
        serde_json::from_value(self.api("/api/v1/usage")).expect("the documented shape")
    }

    /// The entry of `path` in `GET /api/v1/broadcasts`.
    #[must_use]
    pub fn broadcast(&self, path: &str) -> Option<Value> {
        let list = self.api("/api/v1/broadcasts");
        list["broadcasts"].as_array()?.iter().find(|entry| entry["path"] == path).cloned()
    }

    /// Waits until `path` is live with a picture or a sound, and gives its entry.
    #[track_caller]
    pub fn wait_live(&self, path: &str) -> Value {
        wait::until(&format!("{path} to be live"), wait::SOON, || {
            self.broadcast(path)
                .filter(|entry| entry["tracks"].as_array().is_some_and(|tracks| !tracks.is_empty()))
        })
    }

    /// Waits until `path` is listed. What is published natively has no tracks before somebody asks for them.
    #[track_caller]
    pub fn wait_listed(&self, path: &str) {
        wait::until_true(&format!("{path} to be listed"), wait::SOON, || self.broadcast(path).is_some());
    }

    /// Waits until `path` is no longer listed.
    #[track_caller]
    pub fn wait_gone(&self, path: &str) {
        wait::until_true(&format!("{path} to end"), wait::SOON, || self.broadcast(path).is_none());
    }

    /// Ends a session, as an operator does.
    ///
    /// # Panics
    ///
    /// When there is no such session.
    #[track_caller]
    pub fn end_session(&self, session: &Value) {
        let id = session["id"].as_str().expect("an id");
        let answer = http::request(self.ready.http, "DELETE", &format!("/api/v1/sessions/{id}?for=0s"), None);
        let status = answer.expect("an answer").status;
        assert!((200..300).contains(&status), "DELETE of session {id}: {status}");
    }

    /// How many sessions were ended by it, of a protocol and for a reason, by the metrics.
    #[must_use]
    pub fn ended(&self, protocol: &str, reason: &str) -> u64 {
        let page = http::get(self.ready.http, "/metrics").map(|answer| answer.text()).unwrap_or_default();
        let name = format!("moqgate_sessions_ended_total{{protocol=\"{protocol}\",reason=\"{reason}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or_default()
    }

    /// The live sessions of `protocol`.
    #[must_use]
    pub fn sessions(&self, protocol: &str) -> Vec<Value> {
        let all = self.api("/api/v1/sessions");
        let all = all["sessions"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|session| session["protocol"] == protocol).collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let bad = |line: &String| line.contains(" ERROR ") || line.contains("panicked at");
        let lines: Vec<_> = self.log().lines().into_iter().filter(bad).collect();
        assert!(lines.is_empty(), "the gateway logged: {lines:#?}");
    }
}

/// A command that would run the gateway with every listener on a free port of 127.0.0.1.
#[must_use]
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for flag in ["--moq-listen", "--srt-listen", "--rtmp-listen", "--webrtc-listen", "--http-listen"] {
        if !arguments.contains(&flag) {
            command.args([flag, "127.0.0.1:0"]);
        }
    }
    command.args(arguments);
    command
}

/// The gateway that cargo has built for the profile of this test, or the one that `MOQGATE_BINARY` names.
///
/// # Panics
///
/// When it has not been built.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("MOQGATE_BINARY") {
        return named.into();
    }
    let test = std::env::current_exe().expect("a test has a file");
    let profile = test.ancestors().nth(2).expect("tests lie in <target>/<profile>/deps");
    let binary = profile.join("moqgate");
    assert!(binary.is_file(), "build it first: cargo build -p moqgate ({} is missing)", binary.display());
    binary
}
