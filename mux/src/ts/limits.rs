//! Every bound of the MPEG-TS importer, with its reason.

use std::time::Duration;

/// Consecutive sync bytes at one stride before a stream counts as found. Three coincidences beside the first one
/// leave 2^-24 per candidate, and seven packets (one SRT payload) are enough to start.
pub(super) const SYNC_HITS: usize = 4;

/// Bytes of one chunk that the search for sync takes at a time, so that a large push of garbage is not copied whole.
pub(super) const SEARCH_STEP_BYTES: usize = 4096;

/// Longest section: 12 bits of length behind a 3-byte header, 4093 bytes at most for private sections (H.222.0 2.4.4.11).
pub(super) const SECTION_BYTES_MAX: usize = 4096;

/// All sections of one PAT. 32 programs need 140 bytes; the rest is room for muxes that list services they do not carry.
pub(super) const PAT_BYTES_MAX: usize = 16 * 1024;

/// Programs whose PMT is followed. A full satellite multiplex carries some 20.
pub(super) const PROGRAMS_MAX: usize = 32;

/// Elementary streams of the chosen program. Contribution feeds reach 1 video and 31 audio; data pids come on top.
pub(super) const STREAMS_MAX: usize = 64;

/// Pictures that are read at once: each may keep a whole access unit in its framer beside the one that is being gathered.
pub(super) const VIDEO_STREAMS_MAX: usize = 8;

/// Tracks that one input may open over its life. A PMT that changes for ever must not grow the broadcast for ever.
pub(super) const TRACKS_MAX: u32 = 512;

/// Video access unit: a UHD intra picture at contribution rate is 3 to 5 MB.
pub(super) const VIDEO_PES_BYTES_MAX: usize = 8 << 20;

/// Audio PES: its length field has 16 bits.
pub(super) const AUDIO_PES_BYTES_MAX: usize = 64 << 10;

/// Data PES: KLV and metadata may come without a length; one unit is a few hundred bytes, a picture in ID3 some 100 KB.
pub(super) const DATA_PES_BYTES_MAX: usize = 1 << 20;

/// Open PES bytes over all pids, so that many pids at once cannot each reach their own limit.
pub(super) const OPEN_BYTES_MAX: usize = 32 << 20;

/// PES header: 9 fixed bytes and a length of 8 bits.
pub(super) const PES_HEADER_BYTES_MAX: usize = 9 + 255;

/// Largest buffer that is kept for the next unit of its pid; one large intra picture must not stay allocated for ever.
pub(super) const RECYCLED_BYTES_MAX: usize = 1 << 20;

/// PES that must agree before the end of a unit is believed from its length or its stuffing.
pub(super) const END_HINTS_MIN: u8 = 4;

/// A step of the decode clock, either way, that still counts as the same clock: 10 s in 90 kHz ticks. Longer steps are
/// restarts, splices or loops; a 33-bit wrap is never a long step in modular arithmetic.
pub(super) const CLOCK_STEP_MAX: i64 = 10 * 90_000;

/// Where the first timestamp of an input lands on the broadcast's timeline: 10 s in 90 kHz ticks, as far as any later
/// timestamp of the same clock may lie before the first.
pub(super) const CLOCK_ORIGIN: i64 = CLOCK_STEP_MAX;

/// A picture without DTS may lie this far before the one decoded ahead of it: 16 pictures at 16 per second.
pub(super) const REORDER_MAX: i64 = 90_000;

/// Consecutive units that run backwards in their own order before they count as a restarted clock and not as disorder.
pub(super) const BACKWARDS_UNITS_MAX: u8 = 3;

/// A PCR runs forward and comes every 100 ms; one that moves back, or ahead by more than this (5 s in 90 kHz ticks),
/// belongs to another clock.
pub(super) const PCR_STEP_MAX: i64 = 5 * 90_000;

/// A PTS later than its DTS by more than this is not reorder but damage: 10 s in 90 kHz ticks.
pub(super) const PTS_LEAD_MAX: i64 = CLOCK_STEP_MAX;

/// Shortest wait before a picture without a successor is given out: two frame times at 100 pictures a second.
pub(super) const IDLE_WAIT_MIN: Duration = Duration::from_millis(20);

/// The same at 10 pictures a second.
pub(super) const IDLE_WAIT_MAX: Duration = Duration::from_millis(200);

/// Wait before a picture is given out whose last packet does not look like one: the sender may have stalled inside of it.
pub(super) const STALLED_WAIT: Duration = Duration::from_millis(500);

/// The same where the ends of pictures can be told, so that this one most likely is not whole: longer than a busy sender
/// or a path with losses holds up half a picture. The one in 184 that fills its last packet waits as long before a pause.
pub(super) const UNFINISHED_WAIT: Duration = Duration::from_secs(5);
