//! See `harness::open`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::open(data));
