//! `moqgate_fuzz::run("rtp_streams", ..)` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moqgate_fuzz::run("rtp_streams", data));
