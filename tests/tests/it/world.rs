//! The ledger against books that are kept outside, in a world in which everything may happen: `tests/bench/world.py`.
//!
//! Time in it is real: players stay as long as their publishers send. `WORLD_SECONDS=600` is the long run.

use std::process::Command;

use moqgate_tests::{gateway, tools};

/// Two lives of moqgate, a held database, and some twenty publishers.
const SECONDS: u32 = 40;

#[test]
fn the_ledger_agrees_with_a_random_world() {
    if !tools::require(&["ffmpeg", "moq", "srt-live-transmit", tools::NEWER_FFMPEG, tools::AIORTC]) {
        return;
    }
    let mut world = Command::new("python3");
    world.arg(tools::root().join("tests/bench/world.py")).arg("--binary").arg(gateway::binary());
    world.args(["--seconds", &tools::seconds("WORLD_SECONDS", SECONDS).to_string()]);
    let output = world.output().expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    println!("{said}");
}
