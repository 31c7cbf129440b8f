//! From a broadcast to a player: which tracks are read, and how far.
//!
//! ```text
//! CatalogReader -> Readers: one Reader per track -> frames in their order -> an exporter
//! ```
//!
//! What every player's gateway has to do before its exporter: follow the catalog, begin the sound beside the picture,
//! leave in the model what the connection does not take, and go on with a newer group when that grew too much.

mod order;
mod reader;
mod readers;

pub use reader::{Bounds, Queued, Reader};
pub use readers::{Exports, Missing, PlayConfig, Readers};

impl Exports for crate::ts::Exporter {
    fn catalog(&mut self, catalog: &crate::catalog::Catalog) {
        self.catalog(catalog);
    }

    fn tracks(&self) -> Vec<String> {
        self.tracks().map(str::to_owned).collect()
    }
}

impl Exports for crate::flv::Exporter {
    fn catalog(&mut self, catalog: &crate::catalog::Catalog) {
        self.catalog(catalog);
    }

    fn tracks(&self) -> Vec<String> {
        self.tracks().map(str::to_owned).collect()
    }
}
