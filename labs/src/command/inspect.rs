//! `inspect`: what runs, as a table, or as the JSON that containerlab prints.

use std::path::Path;

use anyhow::Result;
use clap::{Args, ValueEnum};
use comfy_table::Table;
use serde_json::{Value, json};

use super::{ask, running, say};
use crate::lab::control::{Answer, InspectedNode, Inspection, Request};
use crate::lab::progress::Progress;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a person
    Table,
    /// containerlab's shape: lab name, then a list of nodes
    Json,
}

/// Options of `inspect`.
#[derive(Debug, Clone, Args)]
pub struct Inspect {
    /// Only this lab
    lab: Option<String>,
    /// How to print
    #[arg(long, short, value_enum, default_value = "table")]
    format: Format,
}

/// Shows what runs.
///
/// # Errors
/// When a lab does not answer.
pub fn inspect(options: &Inspect) -> Result<()> {
    let names = options.lab.clone().map_or_else(running, |name| vec![name]);
    let mut labs = Vec::new();
    for name in names {
        match ask(&name, &Request::Inspect) {
            Ok(Answer::Lab(lab)) => labs.push(lab),
            Ok(Answer::Done | Answer::Exit(_) | Answer::Interfaces(_) | Answer::Losses(_) | Answer::Refused(_)) => {}
            Err(error) if options.lab.is_some() => return Err(error),
            // among all, one that ends or hangs must not hide the others
            Err(error) => Progress::new().say(&error.to_string()),
        }
    }
    match options.format {
        Format::Json => say(&serde_json::to_string_pretty(&document(&labs))?),
        Format::Table if labs.is_empty() => say("no lab is running"),
        Format::Table => say(&table(&labs).to_string()),
    }
    Ok(())
}

/// containerlab's document; `container_id` is the host's number of the node's first process.
fn document(labs: &[Inspection]) -> Value {
    let mut document = serde_json::Map::new();
    for lab in labs {
        let folder = Path::new(&lab.path);
        let nodes = lab.nodes.iter().map(|node| {
            let mut entry = json!({
                "lab_name": lab.name,
                "labPath": relative(folder),
                "absLabPath": lab.path,
                "name": node.long_name,
                "container_id": node.pid.to_string(),
                "image": node.image,
                "kind": node.kind,
                "state": node.state,
                "status": format!("{} {}", node.personality, state(node)),
                "ipv4_address": node.ipv4.as_deref().unwrap_or("N/A"),
                "ipv6_address": node.ipv6.as_deref().unwrap_or("N/A"),
                "owner": owner(),
            });
            if let (Some(group), Some(map)) = (&node.group, entry.as_object_mut()) {
                map.insert("group".to_owned(), json!(group));
            }
            entry
        });
        document.insert(lab.name.clone(), nodes.collect());
    }
    Value::Object(document)
}

/// With what the health check says, as docker shows it.
fn state(node: &InspectedNode) -> String {
    node.health.as_ref().map_or_else(|| node.state.clone(), |health| format!("{} ({health})", node.state))
}

fn relative(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

fn owner() -> String {
    std::env::var("USER").unwrap_or_else(|_| rustix::process::geteuid().as_raw().to_string())
}

fn table(labs: &[Inspection]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["lab", "node", "runs", "state", "IPv4", "IPv6", "process"]);
    for lab in labs {
        for node in &lab.nodes {
            table.add_row([
                lab.name.as_str(),
                node.name.as_str(),
                node.personality.as_str(),
                state(node).as_str(),
                node.ipv4.as_deref().unwrap_or("–"),
                node.ipv6.as_deref().unwrap_or("–"),
                node.pid.to_string().as_str(),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_containerlabs_keys() {
        let node = InspectedNode {
            name: "a".into(),
            long_name: "clab-l-a".into(),
            kind: "linux".into(),
            image: "weft".into(),
            group: None,
            personality: "weft".into(),
            state: "running".into(),
            health: Some("healthy".into()),
            pid: 7,
            ipv4: Some("10.0.0.1/32".into()),
            ipv6: None,
        };
        let document = document(&[Inspection { name: "l".into(), path: "/t/l.clab.yml".into(), nodes: vec![node] }]);
        let entry = &document["l"][0];
        assert_eq!(entry["name"], "clab-l-a");
        assert_eq!(entry["absLabPath"], "/t/l.clab.yml");
        assert_eq!(entry["ipv6_address"], "N/A");
        assert_eq!(entry["status"], "weft running (healthy)");
        assert!(entry.get("group").is_none());
    }
}
