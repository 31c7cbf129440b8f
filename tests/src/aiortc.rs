//! aiortc, a WebRTC of its own kind: publishes over WHIP, watches over WHEP, and counts what it sends and receives.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::process::Process;
use crate::tools;

/// Its last word about what has passed.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Counts {
    /// Pictures and their bytes.
    pub picture: (u64, u64),
    /// Packets of sound and their bytes.
    pub sound: (u64, u64),
    /// Nothing more will be sent.
    pub done: bool,
}

/// Publishes a moving picture in `codec` (`VP8` or `H264`) and a tone. The first SIGTERM ends the media, the second one the
/// session.
#[must_use]
pub fn publish(url: &str, codec: &str) -> Process {
    start(&["publish", url, "--codec", codec])
}

/// Watches, until SIGTERM.
#[must_use]
pub fn watch(url: &str) -> Process {
    start(&["watch", url])
}

/// Watches with a bearer token until the other side ends it, without decoding, and writes down to `book` what came. Its log
/// says `connected`.
#[must_use]
pub fn record(url: &str, token: &str, book: &Path) -> Process {
    let mut command = Command::new(tools::program(tools::AIORTC));
    command.arg(tools::root().join("tests/tools/whep.py")).arg(url).arg(book).args(["--token", token]);
    Process::start("whep.py", &mut command)
}

fn start(arguments: &[&str]) -> Process {
    let mut command = Command::new(tools::program(tools::AIORTC));
    command.arg(tools::root().join("tests/tools/aiortc_peer.py")).args(arguments);
    Process::start("aiortc", &mut command)
}

/// What `process` has sent or received so far.
#[must_use]
pub fn counts(process: &Process) -> Counts {
    let lines = process.log().lines();
    lines.iter().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default()
}
