//! The SRT wire format: packet headers, control bodies, handshakes and loss lists (draft-sharabayko-srt section 3).
//!
//! Everything here is pure: bytes in, values out, no clock and no socket. Input is a single UDP datagram; nothing
//! in it is trusted, and no parser allocates more than the datagram's own size.

pub mod handshake;
pub mod loss_list;
pub mod packet;
pub mod seq;

pub use handshake::{Extensions, Handshake, HandshakeError, HsExtension};
pub use loss_list::{LossList, LossListError};
pub use packet::{Ack, AckDetail, Control, ControlBody, Data, KeyParity, Packet, PacketError};
pub use seq::Seq;
