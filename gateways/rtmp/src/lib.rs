//! The RTMP gateway of moqgate: the protocol of encoders and players, RTMP 1.0 with enhanced RTMP v1 and v2.
//!
//! [`proto`] reads and writes the wire, [`session`] is one connection; both are sans-IO.

pub mod proto;
pub mod session;
