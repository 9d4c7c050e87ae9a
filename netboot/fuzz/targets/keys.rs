//! See `harness::keys::keys`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::keys::keys(data));
