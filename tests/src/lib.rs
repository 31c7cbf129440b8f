//! The rig that runs the whole product against real tools: ffmpeg, libsrt, the released `moq` and `moq-relay`, and
//! `@moq/watch` in Chromium.
//!
//! Everything here is a guard: a process, a proxy or a browser ends when its value is dropped, whatever a test did
//! before. Nothing sleeps to let something happen; [`wait::until`] asks again until it is so or the deadline passes.
//! Nothing here shares code with the gateway: what it claims is compared with what others see.

pub mod aiortc;
pub mod browser;
pub mod fixture;
pub mod gateway;
pub mod gstreamer;
pub mod http;
pub mod keys;
pub mod libsrt;
pub mod listing;
pub mod lossy;
pub mod media;
pub mod obs;
pub mod peers;
pub mod process;
pub mod tools;
pub mod usage;
pub mod wait;
pub mod webhook;
