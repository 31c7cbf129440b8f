//! The WebRTC gateway of moqgate: browsers and encoders that publish with WHIP (RFC 9725), and players that watch with
//! WHEP (draft-ietf-wish-whep).
//!
//! ```text
//! http (offers and answers) -> session (one task per peer)
//!   port -> engine -> ingest -> moqgate_mux::rtp -> moqgate_core
//!   port <- engine <- egress <- moqgate_mux::rtp <- moqgate_core
//! ```
//!
//! All peers share one port. `engine` is the only module that knows the WebRTC library.

pub mod config;
mod egress;
mod engine;
pub mod error;
mod hosts;
mod http;
mod ingest;
mod link;
pub mod listen;
pub mod metrics;
mod port;
pub mod sdp;
mod sessions;
mod streams;
mod transcode;

pub use config::{Config, IceServer};
pub use error::BindError;
pub use http::Client;
pub use listen::Listener;
pub use metrics::{Ignored, Metrics};
