//! Whether new work is welcome: one flag that the API, the gate and the stop share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether new sessions should be sent here. Clones share one state; it goes from ready to draining once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on, no.
    pub(crate) fn drain(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether this process is on its way out.
    pub(crate) fn is_draining(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
