//! The released `moq` and `moq-relay`.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{Log, Process};
use crate::{http, media, tools, wait};

/// How many ports are tried until one is free for TCP and for UDP.
const PORT_ATTEMPTS: usize = 64;

/// A `moq` that writes `broadcast` to `file` as MPEG-TS, waiting for it as long as it takes. Groups up to `max_age`
/// behind are kept.
#[must_use]
pub fn export_ts(url: &str, broadcast: &str, file: &Path, max_age: Duration) -> Process {
    export(url, broadcast, "ts", file, max_age)
}

/// The same in any `format` that `moq export` knows.
#[must_use]
pub fn export(url: &str, broadcast: &str, format: &str, file: &Path, max_age: Duration) -> Process {
    let age = format!("{}ms", max_age.as_millis());
    let mut command = moq(url, broadcast);
    Process::start_into("moq export", command.args(["export", format, "--max-age", &age]), file)
}

/// A `moq` that writes MPEG-TS and stays for `linger` when the broadcast has ended, in case that it comes back.
#[must_use]
pub fn export_ts_lingering(url: &str, broadcast: &str, file: &Path, linger: Duration) -> Process {
    let linger = format!("{}ms", linger.as_millis());
    let mut command = moq(url, broadcast);
    Process::start_into("moq export", command.args(["export", "ts", "--linger", &linger]), file)
}

/// The newest group of a track, as `moq fetch` writes it.
///
/// # Panics
///
/// When it cannot be had.
#[must_use]
pub fn fetch(url: &str, broadcast: &str, track: &str) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut process =
        Process::start_into("moq fetch", moq(url, broadcast).args(["fetch", track]), file.path());
    assert!(process.wait(wait::SOON).success(), "{broadcast} {track}");
    std::fs::read(file.path()).expect("it was written")
}

/// Publishes a clip natively: ffmpeg reads it at `rate`, `moq` imports it.
#[must_use]
pub fn import_ts(url: &str, broadcast: &str, clip: &Path, rate: f32) -> Process {
    let mut feeder = media::copy(clip, rate);
    feeder.args(["-f", "mpegts", "-"]);
    import(url, broadcast, "ts", &feeder)
}

/// Publishes natively what `feeder` writes, in any `format` that `moq import` knows.
#[must_use]
pub fn import(url: &str, broadcast: &str, format: &str, feeder: &Command) -> Process {
    let mut command = moq(url, broadcast);
    Process::start_fed("moq import", command.args(["import", format]), "ffmpeg", feeder)
}

fn moq(url: &str, broadcast: &str) -> Command {
    let mut command = Command::new(tools::program("moq"));
    command.args(["--log-level", "debug", "--connect", url, "--connect-websocket-enabled=false"]);
    // Its errors are one line each; the backtraces hide them.
    command.args(["--broadcast", broadcast]).env("RUST_BACKTRACE", "0");
    command
}

/// A `moq-relay` that lets everybody do everything.
pub struct Relay {
    process: Process,
    address: SocketAddr,
}

impl Relay {
    /// Starts one on a free port.
    #[must_use]
    pub fn start() -> Self {
        Self::start_at(free_address())
    }

    /// Starts one where another has run before.
    #[must_use]
    pub fn start_at(address: SocketAddr) -> Self {
        Self::start_admitting(address, &["--auth-public", "**"])
    }

    /// Starts one that asks an [`AuthServer`].
    #[must_use]
    pub fn start_asking(server: &AuthServer) -> Self {
        Self::start_admitting(free_address(), &["--auth-url", &server.url])
    }

    fn start_admitting(address: SocketAddr, admission: &[&str]) -> Self {
        let listen = address.to_string();
        let mut command = Command::new(tools::program("moq-relay"));
        command.args(["--listen", &listen, "--listen-tls-generate", "localhost"]);
        command.args(["--web-http-listen", &listen]).args(admission);
        let process = Process::start("moq-relay", &mut command);
        wait::until("the relay to answer", wait::SOON, || http::get(address, "/certificate.sha256"));
        Self { process, address }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL at which clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The names it knows.
    #[must_use]
    pub fn announced(&self) -> Vec<String> {
        let answer = http::get(self.address, "/announced").map(|answer| answer.text()).unwrap_or_default();
        answer.lines().map(str::to_owned).collect()
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Log {
        self.process.log()
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// The released server that verifies tokens for relays.
pub struct AuthServer {
    _process: Process,
    url: String,
}

impl AuthServer {
    /// Starts one with a key file.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start(key: &Path) -> Self {
        let address = free_address();
        let mut command = Command::new(tools::program("moq"));
        command.args(["auth", "serve", "--listen", &address.to_string(), "--key"]).arg(key);
        let process = Process::start("moq auth serve", &mut command);
        wait::until("the auth server to listen", wait::SOON, || std::net::TcpStream::connect(address).ok());
        Self { _process: process, url: format!("http://{address}") }
    }
}

/// What `moq auth` prints.
///
/// # Panics
///
/// When it fails.
pub fn auth(arguments: &[&str]) -> String {
    let output = Command::new(tools::program("moq")).arg("auth").args(arguments).output().expect("moq runs");
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "moq auth {arguments:?}: {problem}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// An address of 127.0.0.1 that is free for TCP and for UDP. The relay wants one number for both and does not tell
/// which one it would choose.
fn free_address() -> SocketAddr {
    for _ in 0..PORT_ATTEMPTS {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = tcp.local_addr().expect("it is bound");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free for TCP and UDP");
}
