//! What moqgate answers for: usage that survives a restart, and rows that the meter has let go of.

pub(crate) mod cli;
mod report;
mod rows;

pub(crate) use report::ReportError;
pub(crate) use rows::{Rows, Sides, Sums};
