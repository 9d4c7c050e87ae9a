//! See `harness::query`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::query(data));
