//! Programs of others.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// Whether `names` are all installed. Without one of them a test prints why and does nothing, or fails if `STRICT` is
/// set.
pub(crate) fn have(names: &[&str]) -> bool {
    let missing: Vec<_> = names
        .iter()
        .filter(|name| {
            let found = match **name {
                "libsrt" => python("import ctypes; ctypes.CDLL('libsrt-gnutls.so.1.5')"),
                name => Command::new("which").arg(name).output().is_ok_and(|output| output.status.success()),
            };
            !found
        })
        .collect();
    if missing.is_empty() {
        return true;
    }
    let strict = std::env::vars().any(|(key, value)| key == "STRICT" && value == "1");
    assert!(!strict, "{missing:?} not installed");
    say(&format!("skipped: {missing:?} not installed"));
    false
}

#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
fn say(text: &str) {
    eprintln!("{text}");
}

fn python(code: &str) -> bool {
    Command::new("python3").args(["-c", code]).output().is_ok_and(|output| output.status.success())
}

/// A process that ends with the value.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// ffmpeg pushing a moving picture to `url`, in real time, for ever.
pub(crate) fn ffmpeg(url: &str) -> Running {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-re"]);
    command.args(["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]);
    command.args(["-f", "lavfi", "-i", "sine=frequency=440"]);
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-c:a", "aac", "-f", "mpegts"]);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().expect("ffmpeg runs"))
}

pub(crate) fn url(address: SocketAddr, stream_id: &str, more: &str) -> String {
    format!("srt://{address}?streamid={stream_id}{more}")
}

/// libsrt calling with `options`, still running.
pub(crate) fn libsrt(address: SocketAddr, options: &str) -> Running {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/libsrt_call.py"));
    command.args([&address.ip().to_string(), &address.port().to_string(), options]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    Running(command.spawn().expect("python3 runs"))
}

/// What libsrt says once it is done.
pub(crate) fn answer(mut running: Running) -> String {
    drop(running.0.stdin.take());
    let mut said = String::new();
    let mut out = running.0.stdout.take().expect("piped");
    std::io::Read::read_to_string(&mut out, &mut said).expect("text");
    said.trim().to_owned()
}

/// SIGINT, so that ffmpeg closes its connection.
pub(crate) fn stop_gently(mut encoder: Running) {
    let pid = encoder.0.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().expect("kill runs");
    encoder.0.wait().expect("child");
}
