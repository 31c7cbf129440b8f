//! MPEG transport streams (ITU-T H.222.0 | ISO/IEC 13818-1) in and out.
//!
//! ```text
//! bytes -> Sync -> Packet -> Demux -> PES | sections -> Clock -> Framer -> Event          [`Importer`]
//! catalog + frames -> one order for all tracks -> PES | sections -> packets               [`Exporter`]
//! ```
//!
//! Each arrow is one file. Nothing here reads a clock, allocates per packet, or fails: damage is counted in
//! [`ImportStats`] and the stream goes on with the next thing that is whole.

mod clock;
mod continuity;
mod crc;
mod demux;
mod export;
mod import;
mod kind;
mod limits;
mod packet;
mod pes;
mod programs;
mod psi;
mod section;
mod slots;
mod splice;
mod stats;
mod sync;

pub use export::{ExportConfig, Exporter};
pub use import::{ImportConfig, Importer};
pub use programs::{ProgramChoice, ProgramInfo};
pub use stats::ImportStats;
