//! The chunk stream (RTMP 5.3).

mod reader;
#[cfg(test)]
mod reader_tests;
mod writer;

pub use reader::{ChunkError, ChunkReader};
pub use writer::{ChunkWriter, SEND_CHUNK_SIZE};

/// Chunk size of both directions until it is changed.
pub const DEFAULT_CHUNK_SIZE: usize = 128;
