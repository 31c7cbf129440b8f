//! One established SRT connection in live mode, both directions, without a socket, a task or a clock
//! (draft-sharabayko-srt sections 4 and 5).
//!
//! > After every call of [`Connection::handle`], [`Connection::push`], [`Connection::handle_timeout`] or
//! > [`Connection::close`], take from [`Connection::poll_transmit`] and [`Connection::poll_deliver`] until both
//! > return `None`, then wait for a datagram or until [`Connection::poll_timeout`].
//!
//! Whatever a peer sends, the engine does not panic, and its memory is bounded by [`Params::recv_window`],
//! [`Params::flow_window`] and the constants of `limits`. What is malformed or makes no sense is counted in
//! [`Stats::ignored`] and has no other effect.

mod ack;
mod clock;
mod connection;
mod dispatch;
mod limits;
mod loss;
mod params;
mod rate;
mod receiver;
mod reorder;
mod resend;
mod sender;
mod stats;

pub use connection::{CloseReason, Connection, PushError, State};
pub use params::{Params, PeerFlags};
pub use stats::{Ignored, Stats};

/// Microseconds since the engine's epoch ([`Params::start`]); may be negative.
pub(crate) type Micros = i64;
