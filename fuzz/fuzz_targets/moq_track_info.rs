//! `moqgate_fuzz::run("moq_track_info", ..)` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moqgate_fuzz::run("moq_track_info", data));
