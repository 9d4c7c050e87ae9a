//! See `harness::tftp::tftp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::tftp::tftp(data));
