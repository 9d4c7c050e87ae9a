//! See `harness::bfd`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::bfd::run(data));
