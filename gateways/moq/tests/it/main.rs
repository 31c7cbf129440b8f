//! Listener, dialer and scripted peers over loopback.

mod downstream;
mod egress;
mod golden;
mod ingest;
mod latency;
mod pair;
mod peer;
mod rig;
mod script;
mod session;
mod web;
