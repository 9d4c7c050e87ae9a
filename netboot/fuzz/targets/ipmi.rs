//! See `harness::ipmi::ipmi`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::ipmi::ipmi(data));
