//! `moqgate_fuzz::run("srt_loss_list", ..)` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moqgate_fuzz::run("srt_loss_list", data));
