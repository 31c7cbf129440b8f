//! `moqgate_fuzz::run("rtmp_key", ..)` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moqgate_fuzz::run("rtmp_key", data));
