//! Listener, dialer and scripted peers over loopback.

mod pair;
mod rig;
