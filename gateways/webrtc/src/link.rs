//! What a session measures of its connection, for the API.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use moqgate_core::LinkStats;

/// Measurements of one session. Never billed.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) packets: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) frames_dropped: AtomicU64,
    pub(crate) problems: AtomicU64,
    pub(crate) keyframes_asked: AtomicU64,
    /// Microseconds; 0 is not known.
    pub(crate) round_trip: AtomicU32,
    /// Of 256, as the player reports it.
    pub(crate) fraction_lost: AtomicU32,
    pub(crate) skips: AtomicU64,
    /// What the link carries, bits per second; 0 is not known.
    pub(crate) estimate: AtomicU64,
    /// How often another rendition was sent.
    pub(crate) switches: AtomicU64,
    /// Sound is decoded and encoded for this player.
    pub(crate) transcoded: AtomicU32,
}

impl LinkStats for Link {
    fn snapshot(&self) -> Vec<(&'static str, f64)> {
        let count = |counter: &AtomicU64| counter.load(Relaxed) as f64;
        vec![
            ("rtt_ms", f64::from(self.round_trip.load(Relaxed)) / 1e3),
            ("fraction_lost", f64::from(self.fraction_lost.load(Relaxed)) / 256.0),
            ("packets", count(&self.packets)),
            ("packets_lost", count(&self.lost)),
            ("frames_dropped", count(&self.frames_dropped)),
            ("problems", count(&self.problems)),
            ("keyframes_asked", count(&self.keyframes_asked)),
            ("skips", count(&self.skips)),
            ("estimate_kbps", count(&self.estimate) / 1e3),
            ("switches", count(&self.switches)),
            ("audio_transcoded", f64::from(self.transcoded.load(Relaxed))),
        ]
    }
}
