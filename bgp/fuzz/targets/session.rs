//! See `harness::session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::session(data));
