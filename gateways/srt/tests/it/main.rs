//! The SRT gateway over real sockets, against made-up callers and real ones.

mod bench;
mod call;
mod egress;
mod handshake;
mod hostile;
mod peers;
mod sim;
mod sim_hostile;
mod sim_peer;
mod sim_recovery;
mod sim_time;
mod tools;
