//! RTP in and out: the payload formats of WebRTC, without sockets, SRTP and RTCP.
//!
//! ```text
//! Packet -> reorder, de-duplicate -> access units -> one clock -> Event      [`Importer`]
//! catalog + offered formats -> who can be carried                           [`choose`]
//! frames of one track -> Packet                                             [`Exporter`]
//! ```
//!
//! The formats are RFC 6184 (H.264), RFC 7798 (H.265), RFC 7741 (VP8), RFC 9628 (VP9), "RTP Payload Format For AV1"
//! (AOM) and RFC 7587 (Opus). Nothing here fails: what cannot be read becomes an
//! [`Event::Problem`](crate::event::Event::Problem) and the rest goes on.

mod choose;
mod export;
mod format;
mod import;
mod payload;
mod shared;

use bytes::Bytes;

pub use choose::{Carried, Choices, Fit, Refused, Unfit, choose};
pub use export::{ExportConfig, Exporter, Reordering};
pub use format::{Codec, Format};
pub use import::{ImportConfig, Importer, Output, StreamId, StreamStats};
pub use shared::Payloads;

/// One RTP packet, as far as media is concerned (RFC 3550 section 5.1). Contributing sources, header extensions and
/// padding have been taken off; which payload type it has, the caller knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Synchronisation source.
    pub ssrc: u32,
    /// Counts packets, and wraps.
    pub sequence: u16,
    /// When the content was sampled, in ticks of the codec's clock, and wraps.
    pub timestamp: u32,
    /// For pictures: the last packet of one.
    pub marker: bool,
    /// Payload; empty when the packet was nothing but padding.
    pub payload: Bytes,
}
