//! Replays the committed corpus of every fuzz target (`fabric/fuzz/corpus/TARGET/*`) without a fuzzer.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, dead_code, reason = "a library for the fuzz targets, a module here")]
mod harness;

#[path = "../../bgp/fuzz/src/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn api() {
    replay("api", harness::api::run);
}

#[test]
fn cli() {
    replay("cli", harness::cli::run);
}

#[test]
fn bfd() {
    replay("bfd", harness::bfd::run);
}

#[test]
fn ra() {
    replay("ra", harness::ra::run);
}

#[test]
fn netlink() {
    replay("netlink", harness::netlink::run);
}

#[test]
fn lldp() {
    replay("lldp", harness::lldp::run);
}

#[test]
fn check() {
    replay("check", harness::check::run);
}

#[test]
fn dhcp() {
    replay("dhcp", harness::dhcp::run);
}

#[test]
fn dhcp6() {
    replay("dhcp6", harness::dhcp6::run);
}

#[test]
fn config() {
    replay("config", harness::config::run);
}
