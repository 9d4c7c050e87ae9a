//! What a running lab wrote down of itself for scripts, and which lab a command line means.

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;
use weft_fabric::io::files::lab_root;

use super::{find, running};
use crate::lab::home;
use crate::topology::data;

/// Largest document: some kilobytes for each of ten thousand nodes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// The lab's `topology-data.json`.
pub(super) fn read(lab: &str) -> Result<Value> {
    if !home::is_running(&lab_root(), lab) {
        bail!("lab `{lab}` is not running; start it with `weft-lab up`");
    }
    let path = lab_root().join(lab).join(data::FILE);
    let size = std::fs::metadata(&path).with_context(|| format!("lab `{lab}` wrote no {}", path.display()))?.len();
    if size > MAX_FILE {
        bail!("{}: {size} bytes: {MAX_FILE} are the most", path.display());
    }
    serde_json::from_slice(&std::fs::read(&path)?).with_context(|| path.display().to_string())
}

/// The lab that is meant: by its name, by its file, or the only one.
pub(super) fn lab(name: Option<&str>, topo: Option<&str>) -> Result<String> {
    match (name, topo) {
        (Some(name), _) => Ok(name.to_owned()),
        (None, Some(topo)) => {
            of_file(topo)?.ok_or_else(|| anyhow!("no lab of {topo} is running: start it with `weft-lab up`"))
        }
        (None, None) => match &running()[..] {
            [only] => Ok(only.clone()),
            [] => bail!("no lab is running; start one with `weft-lab up`"),
            several => bail!("several labs are running: name one: {}", several.join(", ")),
        },
    }
}

/// The running lab that was started from a file, under whatever name.
pub(super) fn of_file(topo: &str) -> Result<Option<String>> {
    let path = std::fs::canonicalize(find::topology(Some(topo))?).with_context(|| topo.to_owned())?;
    let root = lab_root();
    let is_of = |lab: &String| {
        home::record(&root, lab)
            .is_some_and(|record| std::fs::canonicalize(record.topology).is_ok_and(|other| other == path))
    };
    Ok(running().into_iter().find(is_of))
}

/// Names of the nodes that have all these labels (`KEY=VALUE`), in the order of names.
pub(super) fn nodes(lab: &str, labels: &[(String, String)]) -> Result<Vec<String>> {
    let document = read(lab)?;
    let nodes = document["nodes"].as_object().with_context(|| format!("lab `{lab}` has no nodes"))?;
    let has = |node: &Value| labels.iter().all(|(key, value)| node["labels"][key].as_str() == Some(value));
    Ok(nodes.iter().filter(|(_, node)| has(node)).map(|(name, _)| name.clone()).collect())
}
