//! See `harness::rtr`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::rtr::run(data));
