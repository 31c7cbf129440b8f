//! The publisher's side of a session: what is there, and its media, for a peer that asks.

mod announce;
mod fetch;
mod in_flight;
mod outbox;
mod probe;
mod sink;
mod subscribe;
mod track;

pub(crate) use announce::serve as announce;
pub(crate) use fetch::serve as fetch;
pub(crate) use probe::serve as probe;
pub(crate) use subscribe::serve as subscribe;
pub(crate) use track::serve as track;

use moqgate_core::TrackError;

use crate::transport::{ReadFault, SendStream};
use crate::wire::stream_code;

/// The stream code with which a request for a track is refused.
fn refusal(error: TrackError) -> u32 {
    match error {
        TrackError::Unroutable => stream_code::UNROUTABLE,
        TrackError::Aborted | TrackError::Closed => stream_code::CANCELLED,
        TrackError::Refused(code) => u32::try_from(code.0).unwrap_or(stream_code::INTERNAL),
        TrackError::NotFound | TrackError::Limit => stream_code::NOT_FOUND,
        _ => stream_code::INTERNAL,
    }
}

/// Answers a request that cannot be read: cancelled, as the released peers do. `bad` is the code for a malformed one.
fn refuse_unreadable(reply: SendStream, fault: ReadFault, bad: u32) {
    reply.reset(match fault {
        ReadFault::Reset(code) => code,
        ReadFault::Lost => stream_code::SESSION_CLOSED,
        ReadFault::Truncated | ReadFault::Decode(_) => bad,
    });
}
