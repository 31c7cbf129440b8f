//! `moqgate_fuzz::run("rtp_fmtp", ..)` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moqgate_fuzz::run("rtp_fmtp", data));
