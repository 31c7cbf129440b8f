//! `moqgate_fuzz::run("moq_subscribe_reply", ..)` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moqgate_fuzz::run("moq_subscribe_reply", data));
