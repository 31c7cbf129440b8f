//! Descriptions (RFC 8866, RFC 8829): what a peer offers, what is given to the engine of it, and what goes back.
//!
//! Everything here is pure and takes text from strangers. What an [`Offer`] holds is bounded, and only what is known is
//! passed on: payload formats that can be imported or exported, no candidates (the remote checks us, never we it), no
//! data channels.

mod answer;
mod fragment;
mod offer;

pub use answer::{Candidate, Transport, finish};
pub use fragment::Fragment;
#[cfg(test)]
pub(crate) use offer::tests;
pub use offer::{Direction, Kind, Offer, Payload, SdpError, Section};

/// Names of RTP header extensions.
pub mod uri {
    /// The media section of a packet (RFC 8843).
    pub const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    /// The simulcast layer of a packet (RFC 8852).
    pub const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    /// The simulcast layer that a retransmission repairs (RFC 8852).
    pub const RRID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
    /// A sequence number over all streams, for congestion control
    /// (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    pub const TRANSPORT_CC: &str =
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
}

/// The value of `a=name:value`, or an empty one of `a=name`.
fn attribute<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = line.strip_prefix("a=")?.strip_prefix(name)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix(':') }
}

/// The first value of an attribute in a whole description.
pub(crate) fn attribute_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| attribute(line.trim_end(), name))
}

/// Whether the line is about candidates.
fn is_candidate(line: &str) -> bool {
    ["candidate", "end-of-candidates", "remote-candidates"].iter().any(|name| attribute(line, name).is_some())
}
