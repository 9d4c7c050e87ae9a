//! What a document of JSON looks like, whatever it says: to compare ours with those of a real FRR. For tests, and the suite's.

use serde_json::Value;
use std::collections::BTreeSet;

/// Objects whose keys are names, prefixes or addresses.
const BY_NAME: [&str; 3] = ["peers", "routes", "advertisedTo"];

/// Every path of keys with the type of what is there; `by_name`: the keys of the document itself are names.
pub(crate) fn shape(document: &Value, by_name: bool) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    walk(document, &mut Vec::new(), by_name, &mut all);
    all
}

fn walk(value: &Value, path: &mut Vec<String>, by_name: bool, all: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let named = !by_name && BY_NAME.contains(&key.as_str());
                path.push(if by_name { "*".to_owned() } else { key.clone() });
                walk(value, path, named, all);
                path.pop();
            }
            return;
        }
        Value::Array(list) => {
            path.push("[]".to_owned());
            list.iter().for_each(|value| walk(value, path, false, all));
            path.pop();
            return;
        }
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Null => "null",
    };
    all.insert(format!("{} {kind}", path.join(".")));
}
