//! What one reader alone writes.

use super::Tally;
use crate::latency::Stage;

/// Side by side in memory: with a thousand readers every line of it is cold, and so a frame touches two, that of the counts
/// and that of its sample.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct ReaderCell {
    pub(super) tally: Tally,
    pub(crate) stage: Stage,
}
