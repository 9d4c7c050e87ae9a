//! See `harness::cli`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::cli::run(data));
