//! Replays the committed corpus of a fuzz target (`fuzz/corpus/TARGET/*` of the crate that includes this file) without a fuzzer.

use std::path::Path;

/// Runs a target over its files; a panic names the file.
pub(crate) fn replay(target: &str, run: fn(&[u8])) {
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
