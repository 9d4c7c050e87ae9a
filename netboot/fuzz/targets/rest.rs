//! See `harness::api::rest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::api::rest(data));
