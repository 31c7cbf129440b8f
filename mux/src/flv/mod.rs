//! FLV in and out: the bodies of RTMP messages and the tags of files, legacy and enhanced.
//!
//! ```text
//! Tag -> head (Part per track) -> Clock -> Elementary -> Event          [`Importer`]
//! catalog + frames -> decoding order -> interleaving -> Tag             [`Exporter`]
//! ```
//!
//! The formats are those of "Adobe Flash Video File Format 10.1" annex E and "Enhanced RTMP" version 2 of Veovera.
//! Nothing here fails: what cannot be read becomes an [`Event::Problem`](crate::event::Event::Problem) and the rest goes on.

mod audio;
mod clock;
mod export;
mod file;
mod head;
mod import;
mod metadata;
mod video;
mod write;

use bytes::Bytes;

pub use export::{Capabilities, Exporter};
pub use file::{File, FileError, file_header, write_tag};
pub use import::Importer;

/// What a tag holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TagKind {
    /// Sound; message type 8.
    Audio,
    /// Pictures; message type 9.
    Video,
    /// AMF0 data such as `onMetaData`; message type 18.
    Script,
}

/// One tag of a file, or the same in an RTMP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// What the body is.
    pub kind: TagKind,
    /// Milliseconds on 32 bits: when a picture is decoded, or sound plays. Writers of 31 bits are understood.
    pub timestamp_ms: u32,
    /// Everything behind the tag or message header.
    pub body: Bytes,
}
