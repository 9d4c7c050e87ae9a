//! What a command line changes of a file before it is merged: another name of the lab, and some of its nodes alone.

use super::Reading;
use super::file::{Fault, File};

/// Changes it; answers what goes away with nodes that are not chosen.
pub(super) fn choose(file: &mut File, reading: &Reading<'_>) -> Result<Option<String>, Fault> {
    if let Some(name) = &reading.name {
        file.name.value.clone_from(name);
    }
    if reading.only.is_empty() {
        return Ok(None);
    }
    if let Some(unknown) = reading.only.iter().find(|name| !file.topology.nodes.contains_key(*name)) {
        let names: Vec<&str> = file.topology.nodes.keys().map(String::as_str).collect();
        let message = format!("there is no node `{unknown}` to choose: {}", names.join(", "));
        return Err(Fault::new(&file.name, "topology.nodes", message));
    }
    let known: Vec<String> = file.topology.nodes.keys().cloned().collect();
    let goes = |name: &String| known.contains(name) && !reading.only.contains(name);
    let before = (file.topology.nodes.len(), file.topology.links.len(), file.expect.len() + file.steps.len());
    file.topology.links.retain(|link| {
        let link = &link.value;
        !link.endpoints.iter().chain(&link.endpoint).any(|end| goes(&end.value.node))
    });
    file.topology.nodes.retain(|name, _| !goes(name));
    file.weft.nodes.retain(|name, _| !goes(name));
    // they speak of the whole
    file.expect.clear();
    file.steps.clear();
    let gone = (before.0 - file.topology.nodes.len(), before.1 - file.topology.links.len());
    Ok(Some(format!(
        "--node-filter: without {} nodes, {} links, and {} expectations and steps",
        gone.0, gone.1, before.2
    )))
}
