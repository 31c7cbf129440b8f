//! The model of live media and the meter that bills it.
//!
//! An [`Origin`] is the directory of live broadcasts. A gateway asks a [`Gate`] for a [`Session`]; the session hands
//! out an [`OriginProducer`] that publishes into the directory and an [`OriginConsumer`] that finds and follows what
//! is there. A broadcast holds tracks, a track holds groups, a group holds frames, as in moq-lite.
//!
//! > A payload enters at [`GroupProducer::push`] and leaves at [`GroupConsumer::forward`]. Those two doors charge usage,
//! > and there is no other way to move a payload, so there is nothing that a gateway could forget to count.
//!
//! The crate knows no protocol, no codec and no socket; it spawns no task and asks no clock (`now` is an argument, or comes from the [`usage::Clock`]
//! that it was given; [`monotonic_now`] is there for sinks).
//! Its `async` verbs only wait: they run on any executor.

mod admission;
mod backoff;
mod broadcast;
mod calls;
mod clock;
mod frame;
mod group;
mod latency;
mod moved;
mod origin;
mod path;
mod pattern;
mod places;
mod rarely;
mod report;
mod session;
mod subscription;
mod time;
mod track;
pub mod usage;
mod waiters;

pub use admission::{
    Admission, AdmissionFuture, Credential, Denied, DenyReason, Direction, Grant, Identity, Limits,
    OpenAdmission, Protocol, Request, Secret,
};
pub use backoff::Backoff;
pub use broadcast::{
    BroadcastConsumer, BroadcastInfo, BroadcastProducer, BroadcastSnapshot, Cost, CreateTrackError,
    DerivedTrack, Route, TrackRequest, TrackStatus,
};
pub use calls::{CallCounters, CallGuard};
pub use clock::monotonic_now;
pub use frame::{Frame, FrameSink};
pub use group::{ForwardError, Forwarded, GroupConsumer, GroupProducer, PushError, StreamCode};
pub use latency::{Histogram, Latency, LatencyTotals, Objective, ObjectiveReading, Observed};
pub use moved::Moved;
pub use origin::{
    Announcement, Announcements, ConsumeError, Origin, OriginConfig, OriginConsumer, OriginProducer,
    PublishError, PublishOptions,
};
pub use path::{Path, PathError};
pub use pattern::{Pattern, PatternError};
pub use places::{Eviction, Full, PlaceLimits, Places, Seat, place};
pub use rarely::Rarely;
pub use report::{Refusals, Sample};
pub use session::{Ender, Gate, KillReason, LinkStats, Session, SessionSnapshot, SessionView};
pub use subscription::{Start, Subscription};
pub use time::Timestamp;
pub use track::{CreateGroupError, TrackClosed, TrackConsumer, TrackError, TrackInfo, TrackProducer};
