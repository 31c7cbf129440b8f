//! The RTMP gateway over real sockets, against made-up peers and real ones.

mod bench;
mod calls;
mod hostile;
mod library;
mod peers;
mod play;
mod publish;
mod recorded;
mod tls;
mod tools;
