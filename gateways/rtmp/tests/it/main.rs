//! The RTMP gateway over real sockets.
