//! See `harness::framer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::framer(data));
