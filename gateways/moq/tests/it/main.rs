//! Integration tests of the MoQ gateway.

mod golden;
