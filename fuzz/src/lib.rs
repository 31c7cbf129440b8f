//! One function per parser of bytes from the network. Each takes anything, and panics only if the parser does or if it
//! breaks a promise: what it reads it can write and read again, and cutting the input elsewhere changes nothing.
//!
//! The same functions serve libFuzzer (`fuzz_targets/`) and the replay of `corpus/`, with seeded mutations, in every
//! test run.

mod moq;
mod srt;
mod ts;

/// A target and the folder of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 23] = [
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
    ("srt_connection", srt::connection),
    ("srt_extensions", srt::extensions),
    ("srt_handshake", srt::handshake),
    ("srt_keys", srt::keys),
    ("srt_loss_list", srt::loss_list),
    ("srt_packet", srt::packet),
    ("srt_streamid", srt::streamid),
    ("ts", ts::import),
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
