//! See `harness::api`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::api::run(data));
