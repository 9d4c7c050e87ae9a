//! See `harness::dhcp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::dhcp::run(data));
