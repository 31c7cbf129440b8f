//! `moqgate_fuzz::run("rtp_opus", ..)` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moqgate_fuzz::run("rtp_opus", data));
