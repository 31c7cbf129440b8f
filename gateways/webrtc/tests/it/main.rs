//! The gateway from outside: over HTTP, and on its port.

#![expect(clippy::disallowed_methods, reason = "a test runs the listener beside itself")]

mod hostile;
mod http;
mod play;
mod rig;
mod viewer;
