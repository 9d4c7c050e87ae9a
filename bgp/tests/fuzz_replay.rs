//! Replays the committed corpus of every fuzz target (`bgp/fuzz/corpus/TARGET/*`) without a fuzzer.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, dead_code, reason = "a library for the fuzz targets, a module here")]
mod harness;

use std::path::Path;

/// Runs a target over its files; a panic names the file.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no corpus for {target}");
    for file in &files {
        let data = std::fs::read(file).unwrap();
        let held = std::panic::catch_unwind(|| run(&data));
        assert!(held.is_ok(), "{} fails", file.display());
    }
    println!("{target}: {} files", files.len());
}

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
