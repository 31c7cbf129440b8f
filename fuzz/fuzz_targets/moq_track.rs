//! `moqgate_fuzz::run("moq_track", ..)` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moqgate_fuzz::run("moq_track", data));
