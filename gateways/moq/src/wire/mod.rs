//! The wire format of moq-lite 03 to 06: bytes to messages and back.
//!
//! Pure and incremental: [`Message::decode`] takes one message off a buffer or says that there is not enough yet.
//! Every length is checked before anything is allocated for it, and no input panics. Fields that a version does not
//! have read as their neutral value and are not written. Paths are left as they came: the session normalises them
//! against its root.

mod announce;
mod announce_book;
mod codec;
mod datagram;
mod error;
mod fetch;
mod goaway;
mod group;
mod probe;
mod setup;
mod stream;
mod subscribe;
#[cfg(test)]
mod tests;
mod track;
mod varint;
mod version;

pub use announce::{AnnounceOk, AnnounceRequest, Announcement, HOPS_MAX, Route};
pub use announce_book::{ANNOUNCED_MAX, AnnounceError, AnnounceEvent, Announced, Announcing};
pub use codec::{MESSAGE_LEN_MAX, Message, NAME_LEN_MAX};
pub use datagram::Datagram;
pub use error::{DecodeError, SessionCode, stream_code};
pub use fetch::Fetch;
pub use goaway::{GOAWAY_URI_LEN_MAX, Goaway};
pub use group::{FRAME_LEN_MAX, FrameHead, FrameHeads, GROUP_FRAMES_MAX, GroupHead};
pub use probe::Probe;
pub use setup::{PARAMETERS_MAX, ProbeSupport, Role, SETUP_LEN_MAX, Setup};
pub use stream::{BidiType, UniType, take_type};
pub use subscribe::{DOWNSTREAM_MAX, Range, Subscribe, SubscribeReply, SubscribeUpdate, Terms};
pub use track::{Track, TrackInfo};
pub use varint::MAX as VARINT_MAX;
pub use version::Version;
