//! libsrt itself, through Python's ctypes: the judge of our handshakes and reject codes.

use std::net::SocketAddr;
use std::process::Command;

use serde::Deserialize;

use crate::tools;

/// How a call ended, as libsrt saw it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Call {
    /// True when the connection was made.
    pub connected: bool,
    /// `srt_getrejectreason`, when it was not.
    pub reason: i32,
    /// The same in libsrt's words.
    pub words: String,
}

/// What a caller says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller<'a> {
    /// The stream id; none is sent when it is empty.
    pub streamid: &'a str,
    /// The passphrase; none is used when it is empty.
    pub passphrase: &'a str,
    /// The key length in bytes; 0 leaves it to libsrt.
    pub key_bytes: u8,
}

/// Calls `listener` once, and hangs up if it answers.
///
/// # Panics
///
/// When libsrt or Python is missing.
#[must_use]
pub fn call(listener: SocketAddr, caller: Caller<'_>) -> Call {
    let mut command = Command::new(tools::program("python3"));
    command.arg(tools::root().join("tests/tools/srt_call.py"));
    command.args([&listener.ip().to_string(), &listener.port().to_string(), caller.streamid]);
    command.args([caller.passphrase, &caller.key_bytes.to_string()]);
    let output = command.output().expect("python3 runs");
    let problem = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {problem}"))
}
