//! See `harness::lldp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::lldp::run(data));
