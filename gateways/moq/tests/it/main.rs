//! Listener, dialer and scripted peers over loopback.

mod golden;
mod ingest;
mod pair;
mod peer;
mod rig;
