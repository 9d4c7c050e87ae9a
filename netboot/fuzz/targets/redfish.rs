//! See `harness::redfish::redfish`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::redfish::redfish(data));
