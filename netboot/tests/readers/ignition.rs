//! Ignition: 3.0 to 3.3 against `ignition-validate` 2.14, 2.3 against its specification, which Debian has no reader of.

use std::io::Write as _;
use std::process::{Command, Stdio};
use weft_netboot::boot::template::Kind;
use weft_netboot::boot::template::check::check;

/// Documents that are right, one in a line.
const RIGHT: &str = include_str!("ignition/right.jsonl");
/// Documents that are wrong, each behind its field and a tabulator; no field: it is no JSON, or not known where.
const WRONG: &str = include_str!("ignition/wrong.tsv");
/// The same of 2.3: <https://coreos.github.io/ignition/configuration-v2_3/>.
const OLD_RIGHT: &str = include_str!("ignition/old-right.jsonl");
const OLD_WRONG: &str = include_str!("ignition/old-wrong.tsv");

/// Whether the real one takes a document; `None`: it is not here.
fn taken(document: &str) -> Option<bool> {
    let program = std::env::var("WEFT_IGNITION_VALIDATE").unwrap_or_else(|_| "ignition-validate".to_owned());
    let child =
        Command::new(program).arg("-").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = child.ok()?;
    child.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
    Some(child.wait().unwrap().success())
}

fn wrong(all: &str) -> impl Iterator<Item = (&str, &str)> {
    all.lines().map(|line| line.split_once('\t').unwrap())
}

/// What we say of documents, gathered: one fault hides no other.
fn verdicts(right: &str, wrong: impl Iterator<Item = (&'static str, &'static str)>) -> Vec<String> {
    let refused = right.lines().filter_map(|document| {
        let (_, reason) = check(Kind::Ignition, document).err()?;
        Some(format!("refused: {document}: {reason}"))
    });
    let others = wrong.filter_map(|(field, document)| match check(Kind::Ignition, document) {
        Ok(()) => Some(format!("taken: {document}")),
        Err((_, reason)) if !reason.starts_with(field) => Some(format!("{document}: {reason}")),
        Err(_) => None,
    });
    refused.chain(others).collect()
}

#[test]
fn what_is_right_is_taken_and_what_is_wrong_has_a_field() {
    assert_eq!(verdicts(RIGHT, wrong(WRONG)), [""; 0]);
}

#[test]
fn version_2_is_read_as_its_specification_says() {
    assert_eq!(verdicts(OLD_RIGHT, wrong(OLD_WRONG)), [""; 0]);
}

#[test]
fn the_real_reader_says_the_same() {
    if taken("{}").is_none() {
        println!("skipped: no program `ignition-validate` (Debian: ignition)");
        return;
    }
    let refused: Vec<&str> = RIGHT.lines().filter(|document| taken(document) == Some(false)).collect();
    assert_eq!(refused, [""; 0], "what we call right");
    let taken: Vec<&str> =
        wrong(WRONG).map(|(_, document)| document).filter(|document| taken(document) == Some(true)).collect();
    assert_eq!(taken, [""; 0], "what we call wrong");
    println!("{} documents, {} of them wrong", RIGHT.lines().count() + wrong(WRONG).count(), wrong(WRONG).count());
}
