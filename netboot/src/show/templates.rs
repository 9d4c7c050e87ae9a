//! The tables of templates.

use super::{NONE, age, render, table};
use jiff::Timestamp;
use serde_json::Value;
use std::fmt::Write as _;

/// Templates, a line for each, with who gets it.
#[must_use]
pub fn templates(answer: &Value, now: Timestamp) -> String {
    let all = answer["templates"].as_object();
    if all.is_none_or(serde_json::Map::is_empty) {
        return "there is no template\n".to_owned();
    }
    let mut lines = table(&["Template", "Kind", "Version", "Set", "By", "Roles", "Machines", "Everybody else"]);
    let pins = &answer["pins"];
    for (name, template) in all.into_iter().flatten() {
        let has = |kinds: &Value| kinds.as_object().into_iter().flatten().any(|(_, pinned)| pinned == name.as_str());
        let keys = |map: &Value| -> Vec<String> {
            map.as_object().into_iter().flatten().filter(|(_, kinds)| has(kinds)).map(|(key, _)| key.clone()).collect()
        };
        let roles = keys(&pins["roles"]);
        let set = template["at"].as_str().and_then(|at| at.parse().ok());
        lines.add_row([
            name.clone(),
            template["kind"].as_str().unwrap_or(NONE).to_owned(),
            template["version"].to_string(),
            set.map_or_else(|| NONE.to_owned(), |at| format!("{} ago", age(at, now))),
            template["by"].as_str().unwrap_or(NONE).to_owned(),
            if roles.is_empty() { NONE.to_owned() } else { roles.join(" ") },
            keys(&pins["machines"]).len().to_string(),
            if has(&pins["rest"]) { "yes" } else { "no" }.to_owned(),
        ]);
    }
    render(&lines)
}

/// What came of all machines.
#[must_use]
pub fn checked(answer: &Value) -> String {
    let mut text = format!("{} configurations of {} machines are made\n", answer["made"], answer["machines"]);
    for wrong in answer["wrong"].as_array().into_iter().flatten() {
        let word = |key: &str| wrong[key].as_str().unwrap_or_default();
        let line = wrong["line"].as_u64().map(|line| format!(", line {line}")).unwrap_or_default();
        let of = if wrong["rendered"] == true { " of what comes of it" } else { "" };
        let _ =
            writeln!(text, "WRONG: {}: template {}{line}{of}: {}", word("serial"), word("template"), word("reason"));
    }
    text
}
