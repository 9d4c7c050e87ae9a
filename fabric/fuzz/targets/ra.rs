//! See `harness::ra`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::ra::run(data));
