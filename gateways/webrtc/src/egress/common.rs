//! What the players of one track have in common.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use moqgate_mux::rtp::Payloads;

/// Payloads by broadcast and track, as long as somebody plays it.
#[derive(Debug, Default)]
pub(crate) struct Common(Mutex<HashMap<(u64, String), Weak<Payloads>>>);

impl Common {
    /// Those of a track of the broadcast with that epoch.
    pub(super) fn of(&self, epoch: u64, track: &str) -> Arc<Payloads> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (epoch, track.to_owned());
        if let Some(payloads) = known.get(&key).and_then(Weak::upgrade) {
            return payloads;
        }
        known.retain(|_, payloads| payloads.strong_count() > 0);
        let payloads = Arc::default();
        known.insert(key, Arc::downgrade(&payloads));
        payloads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn players_of_one_track_share_and_the_last_one_frees() {
        let common = Common::default();
        let (first, second) = (common.of(1, "picture"), common.of(1, "picture"));
        let other = common.of(2, "picture");
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &other));
        drop((first, second, other));
        let _kept = common.of(3, "picture");
        assert_eq!(common.0.lock().expect("one thread").len(), 1);
    }
}
