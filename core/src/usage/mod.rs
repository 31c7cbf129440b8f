//! What is billed.
//!
//! Each session has one meter per broadcast and direction, and it alone writes it, so that counting
//! costs a few uncontended additions per frame. A row is the sum of the meters that are live and of
//! those that have gone; the latter are folded into the row when their last handle drops.
//!
//! Beside the rows there are the books, if the origin keeps any: what each session used since somebody last asked, in
//! statements that are each given out once.

mod backlog;
mod books;
pub(crate) mod counters;
pub(crate) mod meter;
mod pool;
mod reader;
mod registry;
mod statement;
mod tally;

pub use backlog::Backlog;
pub(crate) use books::Books;
use books::Sheet;
pub use books::{Bookkeeping, Clock};
pub(crate) use counters::Counters;
pub use counters::{GaugeTotals, Totals};
pub(crate) use meter::{Account, Charge, Meter, Payer};
pub(crate) use reader::ReaderCell;
pub(crate) use registry::Registry;
pub use registry::{Row, SessionTotals, Snapshot};
pub(crate) use statement::EndCell;
pub use statement::{Amounts, EndReason, Holder, Statement};
use tally::Tally;

/// Which way a payload moves, seen from this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Into the origin.
    Ingress,
    /// Out of the origin.
    Egress,
}

impl Side {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}
