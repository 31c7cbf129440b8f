//! The model seen from a gateway.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]
#![expect(clippy::disallowed_methods, reason = "a test is where time comes from")]

mod announce;
mod books;
mod demand;
mod doors;
mod dynamic;
mod gauges;
mod latency;
mod publish;
mod retention;
mod rig;
mod world;
