//! Media for moqgate: bytes of a container in, frames of a broadcast out, and back.
//!
//! Everything here is sans-IO: it takes bytes and times as arguments, knows no socket, session or clock, and never
//! panics on what the network sends.
//!
//! ```text
//! container bytes -> ts::Importer | flv::Importer | rtp::Importer -> event::Event -> publisher::Publisher -> moqgate_core
//! moqgate_core -> catalog + frames -> ts::Exporter | flv::Exporter | rtp::Exporter -> container bytes
//! ```
//!
//! - [`event`] is the vocabulary between importers and the publisher: a track is always announced by
//!   [`event::Event::Track`] before the first [`event::Event::Frame`] of it.
//! - [`codec`] cuts elementary streams into access units and reads what a catalog has to say about them.
//! - [`catalog`] is the hang catalog.
//! - [`publisher`] applies events to a broadcast: tracks, groups at keyframes, catalog, status.
//! - [`play`] reads a broadcast for a player.
//! - [`ts`] is the MPEG transport stream, [`flv`] what RTMP carries, [`rtp`] what WebRTC carries.
//! - [`transcode`] turns AAC into Opus for those who hear nothing else.

pub mod catalog;
pub mod codec;
mod damage;
pub mod event;
mod export;
pub mod flv;
pub mod play;
mod prelude;
pub mod publisher;
pub mod rtp;
pub mod transcode;
pub mod ts;

pub use damage::{Damage, Told};
