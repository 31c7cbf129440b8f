//! What moves through the model.

use std::{
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;

use crate::Timestamp;

/// One access unit. Cloning shares the payload.
#[derive(Debug, Clone)]
pub struct Frame {
    /// When it is to be presented, on the broadcast's timeline.
    pub timestamp: Timestamp,
    /// When it entered the model, on this machine's monotonic clock: the start of every latency sample.
    pub received: Instant,
    /// What is billed: the bytes as the container of the track defines them, without any transport's framing.
    pub payload: Bytes,
}

/// Where [`GroupConsumer::forward`](crate::GroupConsumer::forward) hands frames over.
///
/// Usage is charged in the moment in which [`accept`](Self::accept) returns `Ok`, so a sink accepts a frame only when
/// it owns the delivery from then on.
pub trait FrameSink {
    /// Why a sink takes no more.
    type Error;

    /// Moves on whatever was accepted before, and is ready once there is room for one more frame.
    ///
    /// # Errors
    /// When the sink is gone. Nothing more is offered to it.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>>;

    /// Takes one frame. Called only after [`poll_ready`](Self::poll_ready) was ready.
    ///
    /// # Errors
    /// When the sink refuses the frame, which is then not charged.
    fn accept(&mut self, frame: Frame) -> Result<(), Self::Error>;

    /// The time on the clock that stamps [`Frame::received`], asked right after the first acceptance of a batch, for
    /// all of it. `None` where what is accepted is not on its way to a peer: no latency is measured then.
    fn now(&self) -> Option<Instant>;
}
