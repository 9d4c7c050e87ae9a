//! See `harness::enrol::enrol`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::enrol::enrol(data));
