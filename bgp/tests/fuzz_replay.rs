//! Replays the committed corpus of every fuzz target (`bgp/fuzz/corpus/TARGET/*`) without a fuzzer.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, dead_code, reason = "a library for the fuzz targets, a module here")]
mod harness;

#[path = "../fuzz/src/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn framer() {
    replay("framer", harness::framer);
}

#[test]
fn open() {
    replay("open", harness::open);
}

#[test]
fn update() {
    replay("update", harness::update);
}

#[test]
fn session() {
    replay("session", harness::session);
}

#[test]
fn policy() {
    replay("policy", harness::policy);
}

#[test]
fn mrt() {
    replay("mrt", harness::mrt);
}

#[test]
fn rtr() {
    replay("rtr", harness::rtr::run);
}

#[test]
fn bmp() {
    replay("bmp", harness::bmp::run);
}
