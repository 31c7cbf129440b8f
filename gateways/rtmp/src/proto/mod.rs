//! RTMP 1.0 on the wire, sans-IO: bytes in, messages out, and back. Nothing here keeps a socket or a clock.

pub mod ack;
pub mod amf0;
pub mod chunk;
pub mod command;
pub mod handshake;
pub mod message;
