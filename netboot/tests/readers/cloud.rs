//! cloud-init: against its own schema and reader of YAML, those of Debian's 22.4 (`WEFT_CLOUD_INIT`: the folder with the Python module `cloudinit` and
//! what it needs; else the system's). What only later versions have, and what is deprecated, is not among the documents.

use std::io::Write as _;
use std::process::{Command, Stdio};
use weft_netboot::boot::template::Kind;
use weft_netboot::boot::template::check::check;

/// Documents, each behind a line `=== right` or `=== wrong FIELD`, without the line `#cloud-config`.
const DOCUMENTS: &str = include_str!("cloud/documents.txt");

/// What cloud-init's reader and schema find wrong in each of a list of documents.
const SCRIPT: &str = r"
import json, sys
import yaml
from cloudinit.config.schema import get_jsonschema_validator, get_schema
from cloudinit.safeyaml import load
try:
    from cloudinit.config.schema import SchemaDeprecationError
except ImportError:
    SchemaDeprecationError = ()
validator = get_jsonschema_validator()[0](get_schema())
def wrong(text):
    try:
        read = load(text)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        return [str(error)]
    if read is None:
        return []
    if not isinstance(read, dict):
        return ['no mapping']
    try:
        found = validator.iter_errors(read)
        return [str(e.message)[:200] for e in found if not isinstance(e, SchemaDeprecationError)]
    except TypeError as error:
        return [str(error)]
json.dump([wrong(text) for text in json.load(sys.stdin)], sys.stdout)
";

fn documents() -> Vec<(Option<&'static str>, String)> {
    let all = DOCUMENTS.split("=== ").skip(1).map(|one| {
        let (head, text) = one.split_once('\n').unwrap();
        (head.strip_prefix("wrong").map(str::trim), format!("#cloud-config\n{text}"))
    });
    all.collect()
}

/// `None`: it is not here.
fn real(documents: &[String]) -> Option<Vec<Vec<String>>> {
    let mut command = Command::new("python3");
    if let Ok(folder) = std::env::var("WEFT_CLOUD_INIT") {
        command.env("PYTHONPATH", folder);
    }
    let child = command
        .args(["-W", "ignore", "-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.ok()?;
    // Who ends at once for want of the module reads nothing.
    let _ = child.stdin.take().unwrap().write_all(serde_json::to_string(documents).unwrap().as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("ModuleNotFoundError") {
        return None;
    }
    assert!(output.status.success(), "{said}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn what_is_right_is_taken_and_what_is_wrong_has_a_field() {
    let faults = documents().into_iter().filter_map(|(field, text)| match (field, check(Kind::UserData, &text)) {
        (None, Err((line, reason))) => Some(format!("refused, line {line:?}: {reason}\n{text}")),
        (Some(_), Ok(())) => Some(format!("taken\n{text}")),
        (Some(field), Err((_, reason))) if !reason.contains(field) => Some(format!("{field}: {reason}\n{text}")),
        (_, _) => None,
    });
    assert_eq!(faults.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn the_real_reader_says_the_same() {
    let all = documents();
    let texts: Vec<String> = all.iter().map(|(_, text)| text.clone()).collect();
    let Some(found) = real(&texts) else {
        println!("skipped: no Python module `cloudinit` (Debian: cloud-init)");
        return;
    };
    let others = all.iter().zip(&found).filter(|((field, _), wrong)| field.is_some() == wrong.is_empty());
    let others: Vec<String> = others.map(|((_, text), wrong)| format!("{text}{wrong:?}")).collect();
    assert_eq!(others, [""; 0], "what cloud-init calls otherwise");
    println!("{} documents, {} of them wrong", all.len(), all.iter().filter(|(field, _)| field.is_some()).count());
}
