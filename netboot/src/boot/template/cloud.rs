//! Whether cloud-init can read what was made for a machine: YAML as it reads it, the keys that it knows (24.x), and for those that machines
//! are usually given, all that is below them. cloud-init says a slip in a log that nobody sees, and does the rest without it.

mod keys;
mod shape;

use super::yaml::{self, Node, Not, Value};
use keys::CLOUD_CONFIG;

/// User data and vendor data.
pub(super) fn user_data(text: &str) -> Result<(), Not> {
    let first = text.lines().next().unwrap_or_default();
    if first.starts_with("#!") || first.trim_end() == "#include" {
        return Ok(());
    }
    if first.trim_end() != "#cloud-config" {
        let message = format!("it begins with `{}`: write #cloud-config, #! or #include", first.escape_debug());
        return Err((Some(1), message));
    }
    let all = mapping(text)?;
    let Value::Map(entries) = all.value.as_ref() else { return Ok(()) };
    for (key, value) in entries {
        let Some((_, shape)) = CLOUD_CONFIG.iter().find(|(known, _)| known == key) else {
            let near = CLOUD_CONFIG.iter().min_by_key(|(known, _)| strsim::damerau_levenshtein(known, key));
            let near = near.map(|(near, _)| format!(": is `{near}` meant?")).unwrap_or_default();
            let line = text.lines().position(|line| line.starts_with(&format!("{key}:"))).map(|at| at + 1);
            return Err((line, format!("cloud-init knows no `{}`{near}", key.escape_debug())));
        };
        shape::check(value, shape, key)?;
    }
    Ok(())
}

/// `instance-id`, and what else is said of the machine.
pub(super) fn meta_data(text: &str) -> Result<(), Not> {
    match mapping(text)?.get("instance-id").map(|id| id.value.as_ref()) {
        Some(Value::Text(_) | Value::Number(_)) => Ok(()),
        Some(_) | None => Err((None, "no `instance-id`: cloud-init tells by it whether it runs anew".to_owned())),
    }
}

/// Version 1 or 2.
pub(super) fn network(text: &str) -> Result<(), Not> {
    let all = mapping(text)?;
    let inner = all.get("network").unwrap_or(&all);
    match inner.get("version").map(|version| version.value.as_ref()) {
        Some(Value::Number(1 | 2)) => Ok(()),
        Some(_) | None => Err((None, "no `version: 1` or `version: 2`".to_owned())),
    }
}

/// A mapping of YAML; nothing but comments is an empty one.
fn mapping(text: &str) -> Result<Node, Not> {
    let read = yaml::read(text)?;
    if !matches!(read.value.as_ref(), Value::Map(_) | Value::Null) {
        let message = format!("{} instead of a mapping of YAML: write KEY: VALUE", read.value.kind());
        return Err((Some(read.line), message));
    }
    Ok(read)
}
