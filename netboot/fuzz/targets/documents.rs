//! See `harness::documents`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::documents(data));
