//! Holds the shape of the tree: who imports whom, how long files are, that each one says what it is for, and which
//! RFC sections the code cites (printed as an index: `cargo test -p weft-labs --test tidy -- --nocapture`).
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Longest file, in lines, tests not counted.
const MAX_LINES: usize = 600;

/// Crate folder, and what it may import (architecture: "crates, and who may import whom").
const IMPORTS: [(&str, &[&str]); 7] = [
    ("bgp", &[]),
    ("fabric", &["weft-bgp"]),
    ("netboot", &["weft-machine"]),
    ("netboot/machine", &[]),
    ("orchestrator", &["weft-fabric", "weft-netboot"]),
    ("labs", &["weft-bgp", "weft-fabric", "weft-netboot", "weft-orchestrator"]),
    ("benches", &["weft-bgp", "weft-fabric"]),
];

/// What bgp may never depend on: it is the protocol alone.
const IMPURE: [&str; 6] = ["tokio", "libc", "socket2", "rustix", "netlink-sys", "rtnetlink"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every `.rs` file of the crates' folders: path relative to the root, and text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = IMPORTS.iter().map(|(name, _)| root().join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                let shown = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((shown, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found.dedup();
    assert!(found.len() > 20, "the walk finds the sources");
    found
}

/// Lines of a file up to its trailing `mod tests`.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().position(|line| line.starts_with("#[cfg(test)]")).unwrap_or(lines.len())
}

/// Names in the `[dependencies]` table of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && let Some(end) = line.find(['.', '=', ' ']) {
            names.push(line[..end].to_owned());
        }
    }
    names
}

#[test]
fn crates_import_only_what_the_architecture_allows() {
    let mut wrong = Vec::new();
    for (name, allowed) in IMPORTS {
        let manifest = std::fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        for dependency in dependencies(&manifest) {
            if dependency.starts_with("weft-") && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} imports {dependency}"));
            }
            if name == "bgp" && IMPURE.contains(&dependency.as_str()) {
                wrong.push(format!("bgp imports {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "not allowed: {wrong:#?}");
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let silent: Vec<String> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "these do not begin with `//!`: {silent:#?}");
}

#[test]
fn no_file_is_longer_than_a_reviewer_can_hold() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|(path, _)| !path.contains("/tests/") && !path.ends_with("tests.rs"))
        .map(|(path, text)| (path, lines_without_tests(text)))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "over {MAX_LINES} lines: {long:#?}");
}

#[test]
fn modules_have_no_mod_rs() {
    let old: Vec<String> =
        sources().into_iter().filter(|(path, _)| path.ends_with("/mod.rs")).map(|(path, _)| path).collect();
    assert!(old.is_empty(), "name them after the module: {old:#?}");
}

#[test]
fn only_io_names_sockets_files_and_the_runtime() {
    let effects = ["tokio::", "socket2::", "rustix::", "libc::", "netlink_sys::", "std::net::TcpStream", "std::fs::"];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let pure_crate = ["bgp/src/", "fabric/src/", "netboot/src/"].iter().any(|folder| path.starts_with(folder));
        let io = ["/io/", "/main/"].iter().any(|folder| path.contains(folder));
        let io = io || path.ends_with("/io.rs") || path.ends_with("/main.rs");
        if !pure_crate || io {
            continue;
        }
        for (number, line) in text.lines().take(lines_without_tests(&text)).enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if effects.iter().any(|effect| code.contains(effect)) && !allowed_effect(&path, code) {
                wrong.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "effects outside io/: {wrong:#?}");
}

/// Channels are plumbing between the two sides; `config::load` reads the one file it is asked for.
fn allowed_effect(path: &str, code: &str) -> bool {
    code.contains("tokio::sync") || (path.starts_with("fabric/src/config") && code.contains("std::fs::"))
}

#[test]
fn rfc_citations_have_an_index() {
    let mut index: BTreeMap<(u32, String), Vec<String>> = BTreeMap::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            for piece in line.split("RFC ").skip(1) {
                let rfc: String = piece.chars().take_while(char::is_ascii_digit).collect();
                let Ok(rfc) = rfc.parse::<u32>() else {
                    continue;
                };
                let section = piece
                    .split_once('§')
                    .filter(|(before, _)| before.trim().chars().all(|c| c.is_ascii_digit()))
                    .map_or("", |(_, after)| after.split([' ', ',', ')', ';', ':', '`', '"']).next().unwrap_or(""));
                let section = section.trim_end_matches('.').to_owned();
                index.entry((rfc, section)).or_default().push(format!("{path}:{}", number + 1));
            }
        }
    }
    assert!(!index.is_empty(), "the code cites no RFC");
    for ((rfc, section), places) in &index {
        let section = if section.is_empty() { String::new() } else { format!(" §{section}") };
        println!("RFC {rfc}{section}: {}", places.join(" "));
    }
}

/// `bgp/README.md` has one row for every RFC, and every file of section tests stands in one.
#[test]
fn the_table_of_rfcs_is_whole() {
    let readme = std::fs::read_to_string(root().join("bgp/README.md")).unwrap();
    let rows: Vec<&str> = readme.lines().skip_while(|line| !line.starts_with("| RFC |")).skip(2).collect();
    let rows: Vec<&str> = rows.into_iter().take_while(|line| line.starts_with('|')).collect();
    let titles: Vec<&str> = rows.iter().filter_map(|row| row.split('|').nth(1)).collect();
    let twice: Vec<_> = titles.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "listed twice: {twice:?}");
    for entry in std::fs::read_dir(root().join("bgp/tests/conformance")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let listed = rows.iter().any(|row| row.contains(&format!("`{name}`")));
        assert!(listed || !name.starts_with("rfc"), "{name} has no row in bgp/README.md");
    }
}
