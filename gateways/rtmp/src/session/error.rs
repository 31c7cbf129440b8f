//! Why a session ends, and how a refusal is said.

use moqgate_core::{DenyReason, Direction};

use super::key::KeyError;
use crate::proto::amf0::AmfError;
use crate::proto::chunk::ChunkError;
use crate::proto::handshake::HandshakeError;

/// Why a session cannot go on. What it still has to send (an error status) should be sent before closing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Not RTMP, or no RTMP that we speak.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The chunk stream cannot be read.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// A command cannot be read.
    #[error("command: {0}")]
    Command(#[from] AmfError),
    /// No usable stream key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A command that makes no sense where it came.
    #[error("{0}")]
    Order(&'static str),
    /// More before publishing or playing than anybody needs.
    #[error("too much before publish or play")]
    Preamble,
    /// More commands and control messages per second than anybody needs.
    #[error("flood of control messages")]
    Flood,
    /// More message streams than anybody needs.
    #[error("too many message streams")]
    Streams,
    /// Neither published nor played in time.
    #[error("did not publish or play in time")]
    Deadline,
    /// A publisher without media.
    #[error("no media for too long")]
    Idle,
}

impl SessionError {
    /// Every kind, in the order of their counters.
    pub const KINDS: [&'static str; 9] = [
        "not_rtmp",
        "chunk_stream",
        "command",
        "stream_key",
        "order",
        "flood",
        "deadline",
        "idle",
        "disconnected",
    ];

    /// One word for the log and for metrics, one of [`SessionError::KINDS`].
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Handshake(_) => "not_rtmp",
            Self::Chunk(_) => "chunk_stream",
            Self::Command(_) => "command",
            Self::Key(_) => "stream_key",
            Self::Order(_) => "order",
            Self::Preamble | Self::Flood | Self::Streams => "flood",
            Self::Deadline => "deadline",
            Self::Idle => "idle",
        }
    }
}

/// A refusal as the client's user gets to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub code: &'static str,
    /// One sentence, which ffmpeg prints.
    pub description: String,
}

impl Refusal {
    /// The code for `reason`. OBS reacts to the code alone, and only to some: `NetStream.Publish.Unauthorized` is none of
    /// those, so a bad key is `Denied`.
    pub fn new(direction: Direction, reason: DenyReason, description: String) -> Self {
        let code = match (direction, reason) {
            (Direction::Subscribe, DenyReason::NotFound | DenyReason::BadRequest) => {
                "NetStream.Play.StreamNotFound"
            }
            (Direction::Subscribe, _) => "NetStream.Play.Failed",
            (_, DenyReason::BadRequest | DenyReason::NotFound | DenyReason::Conflict) => {
                "NetStream.Publish.BadName"
            }
            (_, DenyReason::Unauthorized | DenyReason::Forbidden) => "NetStream.Publish.Denied",
            (_, DenyReason::Overloaded | DenyReason::Unavailable) => "NetStream.Publish.Rejected",
        };
        Self { code, description }
    }
}
