//! Applies events to a broadcast.
