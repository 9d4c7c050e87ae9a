//! See `harness::update`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::update(data));
