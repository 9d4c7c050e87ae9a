//! See `harness::dhcp::dhcp4_server`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::dhcp::dhcp4_server(data));
