//! Containers in, events out. `line_NN_…` names a line of the encoder checklist in docs/FIELD.md.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]
#![expect(clippy::disallowed_methods, reason = "a test is where time comes from")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for the events it is about")]

mod builder;
mod damage;
mod export;
mod export_ts;
mod flv;
mod flv_clips;
mod flv_field;
mod flv_properties;
mod media;
mod rtp;
mod rtp_ffmpeg;
mod rtp_library;
mod rtp_properties;
mod transcode;
mod ts_audio;
mod ts_clips;
mod ts_clock;
mod ts_data;
mod ts_packets;
mod ts_peer;
mod ts_properties;
mod ts_tables;
mod ts_video;
