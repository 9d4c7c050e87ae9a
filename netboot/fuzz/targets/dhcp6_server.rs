//! See `harness::dhcp6::dhcp6_server`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::dhcp6::dhcp6_server(data));
