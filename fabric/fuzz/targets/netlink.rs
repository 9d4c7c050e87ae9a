//! See `harness::netlink`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::netlink::run(data));
