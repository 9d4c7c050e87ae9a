//! Variables of a template: found beside the topology file or named on the command line, merged in order.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gotmpl::Value;
use serde_json::Value as Json;

/// Largest file of variables.
const MAX_FILE: u64 = 8 * 1024 * 1024;
/// How a file of variables may end.
const ENDINGS: [&str; 3] = [".yaml", ".yml", ".json"];

/// Files of variables beside a topology file, in order of their names: `lab.clab.yml` has `lab.clab_vars.yml`,
/// `lab_vars.json`, and with one more word `lab_vars.site.yml`.
#[must_use]
pub fn beside(topology: &Path) -> Vec<PathBuf> {
    let Some(name) = topology.file_name().and_then(|name| name.to_str()) else {
        return Vec::new();
    };
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let stems = [stem, stem.strip_suffix(".clab").unwrap_or(stem)].map(|stem| format!("{stem}_vars"));
    let folder = topology.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|file| {
            ENDINGS.iter().filter_map(|ending| file.strip_suffix(ending)).any(|file| {
                stems.iter().filter_map(|stem| file.strip_prefix(stem.as_str())).any(|middle| {
                    middle.is_empty()
                        || middle.strip_prefix('.').is_some_and(|word| !word.is_empty() && !word.contains('.'))
                })
            })
        })
        .map(|file| folder.join(file))
        .collect();
    found.sort();
    found
}

/// Reads and merges files; what comes later wins, maps are merged key by key.
///
/// # Errors
/// The file, its line and column, and a sentence.
pub fn read(files: &[PathBuf]) -> Result<Json, (PathBuf, u64, u64, String)> {
    let mut whole = Json::Object(serde_json::Map::new());
    for path in files {
        let fault = |(line, column): (u64, u64), message: String| (path.clone(), line, column, message);
        let size =
            fs::metadata(path).map_err(|error| fault((1, 1), format!("cannot read the variables: {error}")))?.len();
        if size > MAX_FILE {
            return Err(fault((1, 1), format!("{size} bytes of variables: {MAX_FILE} are the most")));
        }
        let text =
            fs::read_to_string(path).map_err(|error| fault((1, 1), format!("cannot read the variables: {error}")))?;
        let read: Option<Json> = serde_saphyr::from_str(&text).map_err(|error| {
            let at = error.location().map_or((1, 1), |location| (location.line(), location.column()));
            fault(at, error.without_snippet().to_string())
        })?;
        match read {
            Some(read @ Json::Object(_)) => merge(&mut whole, read),
            None | Some(Json::Null) => {}
            Some(_) => return Err(fault((1, 1), "variables are a mapping, `name: value` in each line".to_owned())),
        }
    }
    Ok(whole)
}

fn merge(base: &mut Json, over: Json) {
    match (base, over) {
        (Json::Object(base), Json::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Json::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// As the template sees them.
#[must_use]
pub(super) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(yes) => Value::Bool(*yes),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(whole)) => Value::Uint(whole),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(text.as_str().into()),
        Json::Array(list) => Value::List(list.iter().map(value).collect()),
        Json::Object(map) => {
            Value::Map(Arc::new(map.iter().map(|(key, inner)| (key.as_str().into(), value(inner))).collect()))
        }
    }
}

/// And back, for `ToJSON`.
pub(super) fn json(value: &Value) -> Json {
    match value {
        Value::Nil | Value::Function(_) => Json::Null,
        Value::Bool(yes) => Json::Bool(*yes),
        Value::Int(number) => Json::from(*number),
        Value::Uint(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        Value::String(text) => Json::String(text.to_string()),
        Value::List(list) => list.iter().map(json).collect(),
        Value::Map(map) => map.iter().map(|(key, inner)| (key.to_string(), json(inner))).collect(),
    }
}
