//! See `harness::policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::policy(data));
