//! The whole product against real tools: what is promised to somebody with ffmpeg, a browser or a relay.

mod audience;
mod browser;
mod calls;
mod encrypted;
mod every_unit;
mod glass;
mod hostile;
mod join;
mod keys;
mod keys_live;
mod keys_webrtc;
mod latency;
mod loss;
mod matrix;
mod obs;
mod refused;
mod relay;
mod rig;
mod slo;
mod stats;
mod stop;
mod tidy;
mod tokens;
mod usage;
mod webhook;
mod webrtc;
mod webrtc_narrow;
mod webrtc_usage;
mod world;

use std::time::Duration;

/// Longer than any clip takes to go through.
const RUN: Duration = Duration::from_secs(90);

/// More than a clip is long: a viewer with this maximum age is spared nothing.
const WHOLE: Duration = Duration::from_secs(60);

/// Gateway arguments with which nothing of a clip is forgotten while the test runs.
const KEEP: [&str; 2] = ["--retention-age", "60s"];
