//! `moqgate_fuzz::run("moq_frames", ..)` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moqgate_fuzz::run("moq_frames", data));
