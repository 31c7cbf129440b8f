//! The whole product against real tools: what is promised to somebody with ffmpeg, a browser or a relay.

mod rig;
