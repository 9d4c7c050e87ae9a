//! See `harness::dhcp6`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::dhcp6::run(data));
