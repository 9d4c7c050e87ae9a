//! See `harness::check`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::check::run(data));
