//! Programs of others.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// Debian's ffmpeg, 5.1 in Debian 12.
pub(crate) fn system_ffmpeg() -> Option<PathBuf> {
    found("ffmpeg", Some(PathBuf::from("ffmpeg")).filter(runs))
}

/// The newer static build of `imageio-ffmpeg`, which speaks enhanced RTMP. `./test` installs it.
pub(crate) fn new_ffmpeg() -> Option<PathBuf> {
    let home = std::env::vars_os().find(|(key, _)| key == "HOME").map(|(_, home)| PathBuf::from(home));
    let packages = home.map(|home| home.join(".cache/moqgate/python/lib"));
    let binary = packages.and_then(|lib| {
        let python = std::fs::read_dir(lib).ok()?.flatten().next()?;
        let binaries = python.path().join("site-packages/imageio_ffmpeg/binaries");
        let mut files = std::fs::read_dir(binaries).ok()?.flatten().map(|file| file.path());
        files.find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ffmpeg-")))
    });
    found("imageio-ffmpeg", binary.filter(runs))
}

/// Without a tool a test prints why and does nothing, or fails if `STRICT` is set.
fn found(name: &str, tool: Option<PathBuf>) -> Option<PathBuf> {
    if tool.is_none() {
        let strict = std::env::vars().any(|(key, value)| key == "STRICT" && value == "1");
        assert!(!strict, "{name} not installed");
        say(&format!("skipped: {name} not installed"));
    }
    tool
}

#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
fn say(text: &str) {
    eprintln!("{text}");
}

fn runs(path: &PathBuf) -> bool {
    Command::new(path).arg("-version").output().is_ok_and(|output| output.status.success())
}

/// A process that ends with the value.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Running {
    /// Waits for its end.
    pub(crate) async fn output(mut self) -> Output {
        let wait = tokio::task::spawn_blocking(move || {
            let mut stderr = Vec::new();
            if let Some(mut pipe) = self.0.stderr.take() {
                std::io::Read::read_to_end(&mut pipe, &mut stderr).expect("a pipe");
            }
            let status = self.0.wait().expect("a child");
            Output { status, stdout: Vec::new(), stderr }
        });
        tokio::time::timeout(crate::bench::LIMIT, wait).await.expect("ffmpeg ends").expect("no panic")
    }
}

/// ffmpeg pushing a moving picture and a tone to `url`, with `codecs`.
pub(crate) fn push(ffmpeg: &PathBuf, codecs: &str, url: &str) -> Running {
    let mut command = Command::new(ffmpeg);
    command.args(["-nostdin", "-loglevel", "error", "-re"]);
    command.args(["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]);
    command.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]);
    command.args(codecs.split_whitespace()).args(["-f", "flv", url]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Running(command.spawn().expect("ffmpeg runs"))
}

/// ffmpeg decoding two seconds of `url`; it says nothing if there is nothing to complain about.
pub(crate) fn play(ffmpeg: &PathBuf, options: &str, url: &str) -> Running {
    let mut command = Command::new(ffmpeg);
    command.args(["-nostdin", "-loglevel", "error"]).args(options.split_whitespace());
    command.args(["-i", url, "-t", "2", "-f", "null", "-"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Running(command.spawn().expect("ffmpeg runs"))
}

/// ffmpeg with arguments of any kind.
pub(crate) fn run(ffmpeg: &PathBuf, arguments: &[&str]) -> Running {
    let mut command = Command::new(ffmpeg);
    command.args(["-nostdin", "-y", "-loglevel", "error"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Running(command.spawn().expect("ffmpeg runs"))
}
