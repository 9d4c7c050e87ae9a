//! The command line as it is built: completion scripts and manual pages have all of it, and the README names every verb.
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

const README: &str = include_str!("../README.md");

fn weft(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weft")).args(words).output().unwrap()
}

fn text(words: &[&str]) -> String {
    let output = weft(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The verbs below some words, as `--help` lists them.
fn verbs(words: &[&str]) -> Vec<String> {
    let help = text(&[words, &["--help"]].concat());
    let Some((_, list)) = help.split_once("Commands:\n") else {
        return Vec::new();
    };
    let lines = list.lines().take_while(|line| !line.trim().is_empty());
    // What is said of one may go on in the next line, further in.
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// All of them: `show`, `show bgp`, …
fn all() -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    for verb in verbs(&[]) {
        found.extend(verbs(&[&verb]).into_iter().map(|below| vec![verb.clone(), below]));
        found.insert(vec![verb]);
    }
    assert!(found.len() > 30 && found.contains(&vec!["show".to_owned(), "bgp".to_owned()]), "{found:?}");
    found
}

#[test]
fn completions_know_every_verb_in_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&["completions", shell]);
        for verb in all() {
            assert!(script.contains(verb.last().unwrap()), "{shell}: {verb:?}");
        }
    }
    assert!(text(&["completions", "bash"]).contains("peers routes links bfd vips kernel"), "values too");
}

#[test]
fn every_verb_has_a_manual_page() {
    let folder = std::env::temp_dir().join(format!("weft-man-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    text(&["man", folder.to_str().unwrap()]);
    let page = |words: &[String]| -> PathBuf {
        folder.join(format!("{}.1", [&["weft".to_owned()], words].concat().join("-")))
    };
    for verb in all() {
        let found = std::fs::read_to_string(page(&verb)).unwrap_or_else(|error| panic!("{verb:?}: {error}"));
        assert!(found.contains(".SH NAME") && found.contains(".SH SYNOPSIS"), "{verb:?}: {found}");
    }
    let whole = text(&["man"]);
    assert!(whole.contains("Exit codes: 0 done"), "{whole}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_readme_names_every_verb() {
    for verb in verbs(&[]) {
        assert!(README.contains(&format!("`weft {verb}")), "{verb}");
    }
    for verb in verbs(&["show"]) {
        assert!(README.contains(&format!("`weft show {verb}")) || README.contains(&format!("`{verb}`")), "show {verb}");
    }
}

#[test]
fn every_show_verb_has_a_recorded_view() {
    let views = include_str!("../VIEWS.md");
    for verb in verbs(&["show"]) {
        let titles = [format!("## `weft show {verb}"), format!("## `weft {verb}`")];
        assert!(titles.iter().any(|title| views.contains(title)), "show {verb}");
    }
}

#[test]
fn a_screen_needs_a_terminal_and_says_so() {
    let output = weft(&["top"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("needs a terminal") && said.contains("remedy: "), "{said}");
}

#[test]
fn what_frr_does_not_have_is_not_made_up() {
    let output = weft(&["--output", "frr", "show", "fib"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("use --output json here"), "{said}");
}
