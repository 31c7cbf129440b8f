//! Transport streams out.
//!
//! ```text
//! catalog + frames -> export::Lineup -> payload (ADTS, delimiters, control headers) -> Writer (PES, PCR) -> 7 x 188 bytes
//! ```

mod exporter;
mod payload;
mod program;
mod writer;

pub use exporter::{ExportConfig, Exporter};
