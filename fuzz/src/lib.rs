//! One function per parser of bytes from the network. Each takes anything, and panics only if the parser does or if it
//! breaks a promise: what it reads it can write and read again, and cutting the input elsewhere changes nothing.
//!
//! The same functions serve libFuzzer (`fuzz_targets/`) and the replay of `corpus/`, with seeded mutations, in every
//! test run.

mod flv;
mod jwt;
mod moq;
mod rtmp;
mod rtp;
mod srt;
mod ts;
mod webrtc;

use std::collections::BTreeSet;

use moqgate_mux::event::Event;

/// A target and the folder of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 44] = [
    ("aac", rtp::aac),
    ("flv", flv::import),
    ("jwt", jwt::token),
    ("moq_announce_ok", moq::announce_ok),
    ("moq_announce_request", moq::announce_request),
    ("moq_announcement", moq::announcement),
    ("moq_datagram", moq::datagram),
    ("moq_fetch", moq::fetch),
    ("moq_frames", moq::frames),
    ("moq_goaway", moq::goaway),
    ("moq_group", moq::group),
    ("moq_probe", moq::probe),
    ("moq_setup", moq::setup),
    ("moq_subscribe", moq::subscribe),
    ("moq_subscribe_reply", moq::subscribe_reply),
    ("moq_subscribe_update", moq::subscribe_update),
    ("moq_track", moq::track),
    ("moq_track_info", moq::track_info),
    ("rtmp_amf0", rtmp::amf0),
    ("rtmp_chunks", rtmp::chunks),
    ("rtmp_client", rtmp::client),
    ("rtmp_command", rtmp::command),
    ("rtmp_handshake", rtmp::handshake),
    ("rtmp_key", rtmp::key),
    ("rtmp_session", rtmp::session),
    ("rtp_av1", rtp::av1),
    ("rtp_export", rtp::export),
    ("rtp_fmtp", rtp::fmtp),
    ("rtp_h264", rtp::h264),
    ("rtp_h265", rtp::h265),
    ("rtp_opus", rtp::opus),
    ("rtp_streams", rtp::streams),
    ("rtp_vp8", rtp::vp8),
    ("rtp_vp9", rtp::vp9),
    ("srt_connection", srt::connection),
    ("srt_extensions", srt::extensions),
    ("srt_handshake", srt::handshake),
    ("srt_keys", srt::keys),
    ("srt_loss_list", srt::loss_list),
    ("srt_packet", srt::packet),
    ("srt_streamid", srt::streamid),
    ("ts", ts::import),
    ("webrtc_fragment", webrtc::fragment),
    ("webrtc_offer", webrtc::offer),
];

/// Runs the target called `name`.
///
/// # Panics
///
/// When there is none, or when it has found something.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.0 == name).expect("a target has this name");
    target.1(data);
}

/// A track is told before anything happens on it, and once.
fn follow(event: &Event, known: &mut BTreeSet<u32>) {
    match event {
        Event::Track(track) => assert!(known.insert(track.id.0), "a new track has a new id"),
        Event::Config { track, .. } | Event::Frame { track, .. } => {
            assert!(known.contains(&track.0), "its track was told");
        }
        Event::TrackEnd(track) => assert!(known.remove(&track.0), "its track was told"),
        Event::Discontinuity | Event::Problem(_) => {}
    }
}
