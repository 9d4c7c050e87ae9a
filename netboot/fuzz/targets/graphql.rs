//! See `harness::api::graphql`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::api::graphql(data));
