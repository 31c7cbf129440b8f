//! Why a connection to a server ends.

use crate::proto::amf0::AmfError;
use crate::proto::chunk::ChunkError;
use crate::proto::handshake::HandshakeError;

/// Letters of a server's words that are kept.
const MAX_WORDS: usize = 400;

/// Why a connection to a server is of no use, or of none any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Not RTMP, or no RTMP that we speak.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The chunk stream cannot be read.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// A command cannot be read.
    #[error("command: {0}")]
    Command(#[from] AmfError),
    /// The server said no.
    #[error("refused: {code} {description}")]
    Refused {
        /// Its status code, possibly empty.
        code: String,
        /// What it says to that.
        description: String,
    },
    /// An answer that makes no sense.
    #[error("{0}")]
    Order(&'static str),
    /// More of what is not media than anybody needs.
    #[error("flood of messages")]
    Flood,
    /// The server did not agree in time.
    #[error("no agreement in time")]
    Deadline,
    /// Nothing to play.
    #[error("no media for too long")]
    Idle,
    /// The server says that it closes the connection.
    #[error("closed by the server")]
    Closed,
}

impl ClientError {
    /// A refusal in the server's words, made fit for a log.
    pub(super) fn refused(code: &str, description: &str) -> Self {
        let clean = |text: &str| text.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect();
        Self::Refused { code: clean(code), description: clean(description) }
    }
}
