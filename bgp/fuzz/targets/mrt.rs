//! See `harness::mrt`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::mrt(data));
