//! The SRT gateway of moqgate: MPEG-TS in live mode both ways, HSv5 (draft-sharabayko-srt).
//!
//! ```text
//! io <-> listen <-> engine (one per connection) -> queue -> ingest -> moqgate_mux -> moqgate_core
//!          └─ accept -> admit (one task per caller)  <- feed <- egress <───────────────┘
//! ```
//!
//! The protocol is sans-IO: [`wire`] reads and writes datagrams, [`accept`] is the handshake, [`engine`] is an
//! established connection; all of them are told the time. [`Listener`] is their shell.

pub mod accept;
mod admit;
pub mod call;
pub mod caller;
pub mod config;
pub mod cookie;
pub mod crypto;
mod egress;
pub mod engine;
pub mod error;
mod feed;
mod import;
mod ingest;
mod io;
mod line;
pub mod listen;
pub mod metrics;
mod queue;
pub mod reject;
pub mod remote;
mod stats;
pub mod streamid;
pub mod wire;

pub use caller::{Caller, CallerConfig, Way};
pub use config::Config;
pub use error::BindError;
pub use listen::Listener;
pub use metrics::{Ignored, Metrics};
pub use reject::Reject;
pub use remote::{Remote, RemoteError};
