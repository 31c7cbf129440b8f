//! What is billed.
//!
//! Each session has one meter per broadcast and direction, and it alone writes it, so that counting
//! costs a few uncontended additions per frame. A row is the sum of the meters that are live and of
//! those that have gone; the latter are folded into the row when their last handle drops.

pub(crate) mod counters;
pub(crate) mod meter;
mod registry;
mod tally;

pub(crate) use counters::Counters;
pub use counters::{GaugeTotals, Totals};
pub(crate) use meter::{Account, Charge, Meter, Payer};
pub(crate) use registry::Registry;
pub use registry::{Row, SessionTotals, Snapshot};
use tally::Tally;

/// Which way a payload moves, seen from this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Into the origin.
    Ingress,
    /// Out of the origin.
    Egress,
}
