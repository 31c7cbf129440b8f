//! From a broadcast back to a container: what every exporter has to do first.
//!
//! ```text
//! catalog -> Source        frames -> whole units in Annex B -> decoding times -> Lineup (one order for all tracks)
//! ```

mod lineup;
mod order;
mod source;

pub(crate) use lineup::{Lineup, START_LEAD_MAX, START_WAIT_MAX, Unit, annex_b};
pub(crate) use source::{Coding, Source, Video, sources};
