//! A running moqgate.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::http_client::{Answer, request};

/// Only a program that hangs takes as long.
const PATIENCE: Duration = Duration::from_secs(30);
/// More lines than a test ever causes, so that the program never waits for the test to read.
const LINES_MAX: usize = 100_000;

/// Between two questions.
const TICK: Duration = Duration::from_millis(20);

/// Listeners on ports of their own.
const FREE_PORTS: [&str; 10] = [
    "--moq-listen",
    "127.0.0.1:0",
    "--srt-listen",
    "127.0.0.1:0",
    "--rtmp-listen",
    "127.0.0.1:0",
    "--webrtc-listen",
    "127.0.0.1:0",
    "--http-listen",
    "127.0.0.1:0",
];

/// The program with `flags` and nothing of this process's environment.
pub(crate) fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moqgate"));
    command.env_clear().args(flags).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a program that ends by itself: its exit code and what it printed.
pub(crate) fn run(flags: &[&str]) -> Ended {
    let mut child = command(flags).spawn().expect("the program starts");
    let output = lines(child.stdout.take().expect("it is piped"));
    let log = lines(child.stderr.take().expect("it is piped"));
    let deadline = Instant::now() + PATIENCE;
    let to_the_end = |stream: &Receiver<String>| {
        let mut text = String::new();
        loop {
            match stream.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => text = text + &line + "\n",
                Err(RecvTimeoutError::Disconnected) => return Ok(text),
                Err(RecvTimeoutError::Timeout) => return Err(text),
            }
        }
    };
    let (Ok(stderr), Ok(stdout)) = (to_the_end(&log), to_the_end(&output)) else {
        child.kill().expect("it runs");
        panic!("{flags:?} does not end");
    };
    Ended { code: child.wait().expect("it ends").code(), stdout, stderr }
}

/// What a program leaves behind.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A running moqgate; killed when dropped.
pub(crate) struct Gateway {
    child: Child,
    output: Receiver<String>,
    log: Receiver<String>,
    seen: Vec<String>,
    ready: BTreeMap<String, SocketAddr>,
}

impl Gateway {
    /// Starts the program on free ports, but for listeners that `flags` name, and waits until it is ready.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let free = FREE_PORTS.chunks(2).filter(|listener| !flags.contains(&listener[0]));
        let mut all: Vec<_> = free.flatten().copied().collect();
        all.extend(flags);
        Self::spawn(command(&all))
    }

    /// Runs `command`, which must be moqgate, and waits until it is ready.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let output = lines(child.stdout.take().expect("it is piped"));
        let log = lines(child.stderr.take().expect("it is piped"));
        let ready = match output.recv_timeout(PATIENCE) {
            Ok(line) => parse_ready(&line),
            Err(_) => panic!("not ready: {:?}", log.iter().collect::<Vec<_>>()),
        };
        Self { child, output, log, seen: Vec::new(), ready }
    }

    /// Where the listener of that name is, if there is one.
    pub(crate) fn listener(&self, name: &str) -> Option<SocketAddr> {
        self.ready.get(name).copied()
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.listener("http").expect("HTTP is on")
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        request(self.http(), "GET", target, "")
    }

    /// Waits for a line of the log that holds `text`.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.iter().any(|line| line.contains(text)) {
            match self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("{text:?} not in the log ({error}): {:#?}", self.seen),
            }
        }
    }

    /// Asks until the answer is there.
    pub(crate) fn until<T>(&mut self, what: &str, ask: impl Fn(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{what}: {:#?}", self.seen);
            self.seen.extend(self.log.recv_timeout(TICK).ok());
        }
    }

    /// Sends a signal: `TERM`, `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for the end; returns the exit code and the whole log. A line of level ERROR fails the test.
    pub(crate) fn end(self) -> (Option<i32>, Vec<String>) {
        let (code, log) = self.ended();
        assert!(!log.iter().any(|line| line.contains(" ERROR ")), "{log:#?}");
        (code, log)
    }

    /// The same, where lines of level ERROR are expected, and say `text`.
    pub(crate) fn end_after_errors(self, text: &str) -> (Option<i32>, Vec<String>) {
        let (code, log) = self.ended();
        let mut errors = log.iter().filter(|line| line.contains(" ERROR "));
        assert!(errors.all(|line| line.contains(text)), "{log:#?}");
        (code, log)
    }

    fn ended(mut self) -> (Option<i32>, Vec<String>) {
        self.seen.extend(self.log.iter());
        assert_eq!(self.output.iter().count(), 0, "standard output holds one line");
        let code = self.child.wait().expect("it ends").code();
        (code, std::mem::take(&mut self.seen))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a stream, read as they come; the channel ends with the stream.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(LINES_MAX);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn parse_ready(line: &str) -> BTreeMap<String, SocketAddr> {
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some("ready"), "{line}");
    let pair = |word: &str| {
        let (name, address) = word.split_once('=').expect("key=value");
        (name.to_owned(), address.parse().expect("an address"))
    };
    words.map(pair).collect()
}
