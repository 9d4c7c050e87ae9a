//! `inspect`: what runs, as a table, or as the JSON that containerlab prints.

use std::path::Path;

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Table;
use serde_json::{Map, Value, json};

use super::{data, inspection, print, running, say};
use crate::lab::control::{InspectedNode, Inspection, Interface};
use crate::lab::progress::Progress;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a person
    Table,
    /// containerlab's shape: lab name, then a list of nodes
    Json,
}

/// How to print what is a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// For a person
    Table,
    /// containerlab's document
    Json,
    /// Its lines, with a head
    Csv,
}

/// Options of `inspect`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Inspect {
    #[command(subcommand)]
    what: Option<What>,
    /// Only this lab
    lab: Option<String>,
    /// The same, as containerlab names it
    #[arg(long, short, conflicts_with = "lab")]
    name: Option<String>,
    /// Only the lab of this topology file
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["lab", "name"])]
    topo: Option<String>,
    /// All labs of this user; without a name it is all anyway
    #[arg(long, short, conflicts_with_all = ["lab", "name", "topo"])]
    all: bool,
    /// All that is known of each node, with its labels and interfaces, as JSON
    #[arg(long, conflicts_with = "format")]
    details: bool,
    /// How to print
    #[arg(long, short, value_enum, default_value = "table")]
    format: Shape,
}

/// What else can be looked at.
#[derive(Debug, Clone, Subcommand)]
pub enum What {
    /// Show the interfaces of a lab's nodes
    Interfaces(Interfaces),
}

/// Options of `inspect interfaces`.
#[derive(Debug, Clone, Args)]
pub struct Interfaces {
    /// A lab's name [default: the only one that runs]
    lab: Option<String>,
    /// The same, as containerlab names it
    #[arg(long, conflicts_with = "lab")]
    name: Option<String>,
    /// The topology file it was started from
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["lab", "name"])]
    topo: Option<String>,
    /// Of one node alone
    #[arg(long, short)]
    node: Option<String>,
    /// How to print
    #[arg(long, short, value_enum, default_value = "table")]
    format: Shape,
}

/// Shows what runs.
///
/// # Errors
/// When a lab does not answer.
pub fn inspect(options: &Inspect) -> Result<()> {
    if let Some(What::Interfaces(options)) = &options.what {
        return interfaces(options);
    }
    let named = options.lab.clone().or_else(|| options.name.clone());
    let named = match &options.topo {
        Some(topo) => Some(data::lab(None, Some(topo))?),
        None => named,
    };
    let names = named.clone().map_or_else(running, |name| vec![name]);
    let mut labs = Vec::new();
    for name in names {
        match inspection(&name) {
            Ok(lab) => labs.push(lab),
            Err(error) if named.is_some() => return Err(error),
            // among all, one that ends or hangs must not hide the others
            Err(error) => Progress::new().say(&error.to_string()),
        }
    }
    let document = document(&labs);
    match options.format {
        _ if options.details => say(&serde_json::to_string_pretty(&detailed(document, &labs)?)?),
        Shape::Json => say(&serde_json::to_string_pretty(&document)?),
        Shape::Csv => {
            let rows: Vec<&Value> = document.values().filter_map(Value::as_array).flatten().collect();
            print(&csv(&COLUMNS, &rows));
        }
        Shape::Table if labs.is_empty() => say("no lab is running"),
        Shape::Table => say(&table(&labs).to_string()),
    }
    Ok(())
}

/// Columns of nodes as lines; keys of containerlab's document.
const COLUMNS: [&str; 13] = [
    "lab_name",
    "labPath",
    "absLabPath",
    "name",
    "container_id",
    "image",
    "kind",
    "group",
    "state",
    "status",
    "ipv4_address",
    "ipv6_address",
    "owner",
];
/// Likewise of interfaces.
const INTERFACE_COLUMNS: [&str; 8] = ["node", "name", "alias", "mac", "ifindex", "mtu", "type", "state"];

/// Adds labels and interfaces to every node.
fn detailed(mut document: Map<String, Value>, labs: &[Inspection]) -> Result<Map<String, Value>> {
    for lab in labs {
        let data = data::read(&lab.name)?;
        let entries = document.get_mut(&lab.name).and_then(Value::as_array_mut);
        for (entry, node) in entries.into_iter().flatten().zip(&lab.nodes) {
            if let Some(map) = entry.as_object_mut() {
                map.insert("health".to_owned(), json!(node.health));
                map.insert("runs".to_owned(), json!(node.personality));
                map.insert("labels".to_owned(), data["nodes"][&node.name]["labels"].clone());
                map.insert("interfaces".to_owned(), Value::Array(of_node(&lab.name, &node.name)?));
            }
        }
    }
    Ok(document)
}

fn interfaces(options: &Interfaces) -> Result<()> {
    let lab = data::lab(options.lab.as_deref().or(options.name.as_deref()), options.topo.as_deref())?;
    let inspection = inspection(&lab)?;
    let is_wanted = |name: &str| options.node.as_deref().is_none_or(|wanted| wanted == name);
    let nodes: Vec<_> =
        inspection.nodes.iter().filter(|node| is_wanted(&node.name) || is_wanted(&node.long_name)).collect();
    if nodes.is_empty() {
        bail!("there is no node `{}` in {lab}", options.node.as_deref().unwrap_or_default());
    }
    let mut document = Vec::new();
    for node in nodes {
        document.push(json!({"name": node.long_name, "interfaces": of_node(&lab, &node.name)?}));
    }
    if options.format == Shape::Json {
        say(&serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    let mut rows = Vec::new();
    for node in &document {
        for mut interface in node["interfaces"].as_array().cloned().unwrap_or_default() {
            interface["node"] = node["name"].clone();
            rows.push(interface);
        }
    }
    if options.format == Shape::Csv {
        print(&csv(&INTERFACE_COLUMNS, &rows.iter().collect::<Vec<_>>()));
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(INTERFACE_COLUMNS);
    for row in &rows {
        table.add_row(INTERFACE_COLUMNS.map(|column| text(&row[column])));
    }
    say(&table.to_string());
    Ok(())
}

/// containerlab's list of a node's interfaces.
fn of_node(lab: &str, node: &str) -> Result<Vec<Value>> {
    let interface = |Interface { name, link, addresses: _ }: Interface| {
        json!({
            "name": name, "alias": link.alias, "mac": link.mac, "ifindex": link.index, "mtu": link.mtu, "type": link.kind,
            "state": link.state,
        })
    };
    Ok(super::graph::interfaces(lab, node)?.into_iter().map(interface).collect())
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Lines of RFC 4180: what has a comma, a quote or a line end is quoted.
fn csv(columns: &[&str], rows: &[&Value]) -> String {
    let mut lines = columns.join(",") + "\n";
    for row in rows {
        let cells = columns.iter().map(|column| {
            let cell = text(&row[*column]);
            if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
        });
        lines.push_str(&(cells.collect::<Vec<_>>().join(",") + "\n"));
    }
    lines
}

/// containerlab's document; `container_id` is the host's number of the node's first process.
fn document(labs: &[Inspection]) -> Map<String, Value> {
    let mut document = Map::new();
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
    document
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
        let csv = csv(&COLUMNS, &[entry]);
        assert_eq!(csv.lines().next().unwrap().split(',').count(), COLUMNS.len());
        assert!(
            csv.lines().nth(1).unwrap().starts_with("l,/t/l.clab.yml,/t/l.clab.yml,clab-l-a,7,weft,linux,,running,"),
            "{csv}"
        );
    }

    #[test]
    fn a_comma_or_a_quote_is_quoted() {
        assert_eq!(csv(&["a", "b", "c"], &[&json!({"a": "x,\"y\"", "b": 7})]), "a,b,c\n\"x,\"\"y\"\"\",7,\n");
    }
}
