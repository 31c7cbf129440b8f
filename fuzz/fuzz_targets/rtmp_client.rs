//! `moqgate_fuzz::run("rtmp_client", ..)` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moqgate_fuzz::run("rtmp_client", data));
