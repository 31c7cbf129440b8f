//! The hang catalog.
