//! What can be wrong with received bytes, and the two registries of codes.

use std::fmt;

/// Why received bytes are not the message they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The body is longer than its fields: messages of this protocol cannot be extended by appending.
    #[error("message has bytes after its last field")]
    Long,
    /// The body ends inside its fields.
    #[error("message ends inside its fields")]
    Short,
    /// A length beyond what we accept, found before anything was allocated for it.
    #[error("length {length} is above the limit of {max}")]
    TooLarge {
        /// What the peer announced, in bytes or elements.
        length: u64,
        /// What we accept.
        max: u64,
    },
    /// A string is not UTF-8.
    #[error("string is not UTF-8")]
    Utf8,
    /// A field holds a value that its definition rules out.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// The same SETUP parameter twice.
    #[error("duplicate parameter {0:#x}")]
    Duplicate(u64),
    /// A message type that this stream does not have.
    #[error("unknown message type {0:#x}")]
    UnknownType(u64),
}

/// The code a session is closed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionCode(pub u32);

impl SessionCode {
    /// Closed on purpose, nothing wrong.
    pub const NO_ERROR: Self = Self(0x0);
    /// Our own fault.
    pub const INTERNAL: Self = Self(0x1);
    /// The credential does not allow this session.
    pub const UNAUTHORIZED: Self = Self(0x2);
    /// The peer broke the protocol.
    pub const PROTOCOL_VIOLATION: Self = Self(0x3);
    /// The peer was asked to leave and did not.
    pub const GOAWAY_TIMEOUT: Self = Self(0x10);
    /// An expected control message did not come in time.
    pub const CONTROL_TIMEOUT: Self = Self(0x11);
    /// No common version.
    pub const VERSION_NEGOTIATION_FAILED: Self = Self(0x15);
}

impl fmt::Display for SessionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Codes of RESET_STREAM and STOP_SENDING, before the transport maps them. Unknown ones must be tolerated.
pub mod stream_code {
    /// Nothing more precise to say; also what the browser implementation always sends.
    pub const INTERNAL: u32 = 0x0;
    /// No longer wanted.
    pub const CANCELLED: u32 = 0x1;
    /// Not delivered in time.
    pub const DELIVERY_TIMEOUT: u32 = 0x2;
    /// The session ended.
    pub const SESSION_CLOSED: u32 = 0x3;
    /// The sender is leaving.
    pub const GOING_AWAY: u32 = 0x4;
    /// The reader fell too far behind.
    pub const TOO_FAR_BEHIND: u32 = 0x5;
    /// The track's data cannot be read.
    pub const MALFORMED_TRACK: u32 = 0x12;
    /// A request was not answered in time.
    pub const CONTROL_TIMEOUT: u32 = 0x31;
    /// A group above the limits.
    pub const GROUP_TOO_LARGE: u32 = 0x32;
    /// No such track or group.
    pub const NOT_FOUND: u32 = 0x33;
    /// A group that was superseded.
    pub const OLD: u32 = 0x34;
    /// A group no longer retained.
    pub const EVICTED: u32 = 0x35;
    /// No route to the broadcast.
    pub const UNROUTABLE: u32 = 0x36;
    /// A stream that ended inside a frame.
    pub const WRONG_SIZE: u32 = 0x37;
    /// A frame above the limit.
    pub const FRAME_TOO_LARGE: u32 = 0x38;
    /// A timestamp that cannot be.
    pub const TIMESTAMP_MISMATCH: u32 = 0x39;
}
