//! See `harness::store`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::store(data));
