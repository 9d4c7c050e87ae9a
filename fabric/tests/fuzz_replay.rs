//! Replays the committed corpus of every fuzz target (`fabric/fuzz/corpus/TARGET/*`) without a fuzzer.

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
fn config() {
    replay("config", harness::config::run);
}
