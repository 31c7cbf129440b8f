//! A group: frames from a join point on, append-only, shared by every reader.

mod consumer;
mod producer;

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::Waker,
};

pub use consumer::{ForwardError, Forwarded, GroupConsumer};
pub use producer::{GroupProducer, PushError};

use crate::{Frame, Timestamp, waiters::Waiters};

/// Most frames in a group: released moq-lite peers abort a group that has more.
pub(crate) const GROUP_FRAMES_MAX: usize = 8192;
/// Most payload bytes in a group, and in a frame, for the same reason.
pub(crate) const GROUP_BYTES_MAX: usize = 32 << 20;

/// What a frame costs in memory beside its payload, so that empty frames are not free.
pub(crate) const FRAME_COST: usize = size_of::<Entered>() + 64;

/// No frame has come yet.
const NO_TIMESTAMP: u64 = u64::MAX;

/// Why a group or track ended early, as a moq-lite stream reset code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamCode(pub u64);

impl StreamCode {
    /// Something failed on this side.
    pub const INTERNAL: Self = Self(0x0);
    /// Nobody wants it any more, or its producer has gone.
    pub const CANCELLED: Self = Self(0x1);
    /// Superseded by newer groups.
    pub const OLD: Self = Self(0x34);
    /// No longer retained.
    pub const EVICTED: Self = Self(0x35);
}

impl fmt::Display for StreamCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// What the producer and all consumers of a group share.
#[derive(Debug)]
pub(crate) struct GroupShared {
    pub(crate) sequence: u64,
    pub(crate) datagram: bool,
    first_timestamp: AtomicU64,
    bytes: AtomicUsize,
    state: Mutex<GroupState>,
}

#[derive(Debug, Default)]
struct GroupState {
    frames: Vec<Entered>,
    end: Option<End>,
    waiters: Waiters,
}

/// A frame, and when it entered in microseconds since the start of time: worked out once, not for every viewer.
#[derive(Debug, Clone)]
struct Entered {
    frame: Frame,
    received_micros: u64,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Finished,
    Aborted(StreamCode),
}

impl GroupShared {
    pub(crate) fn new(sequence: u64, datagram: bool) -> Self {
        Self {
            sequence,
            datagram,
            first_timestamp: AtomicU64::new(NO_TIMESTAMP),
            bytes: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }

    /// When the first frame is presented, once there is one.
    pub(crate) fn first_timestamp(&self) -> Option<Timestamp> {
        let micros = self.first_timestamp.load(Relaxed);
        (micros != NO_TIMESTAMP).then(|| Timestamp::from_micros(micros))
    }

    /// Payload bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Ends the group early, unless it has ended already.
    pub(crate) fn abort(&self, code: StreamCode, woken: &mut Vec<Waker>) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.end = Some(End::Aborted(code));
            state.waiters.take(woken);
        }
    }

    /// Lets the memory go, whoever still reads, and returns how many bytes that was.
    pub(crate) fn evict(&self, woken: &mut Vec<Waker>) -> usize {
        let mut state = self.lock();
        let frames = std::mem::take(&mut state.frames);
        state.end = Some(End::Aborted(StreamCode::EVICTED));
        state.waiters.take(woken);
        self.bytes.swap(0, Relaxed) + frames.len() * FRAME_COST
    }

    fn lock(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
