//! The SRT gateway of moqgate: a listener for encoders that push MPEG-TS in live mode, HSv5 (draft-sharabayko-srt).
//!
//! The protocol is sans-IO. [`wire`] reads and writes datagrams; everything above it is told the time.

pub mod wire;
