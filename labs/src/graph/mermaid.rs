//! A drawing in the language of Mermaid: nodes have numbers for names, so that no name is a word of the language.

use std::fmt::Write as _;

use super::{Health, Picture};

/// Draws it.
pub(super) fn draw(picture: &Picture) -> String {
    let mut text = format!("---\ntitle: {}\n---\ngraph TB\n", quoted(&picture.name));
    for (at, node) in picture.nodes.iter().enumerate() {
        let _ = writeln!(text, "  n{at}[{}]", label(&format!("{} ({})", node.name, node.note())));
    }
    for link in &picture.links {
        let (a, z) = if link.a.at <= link.z.at { (&link.a, &link.z) } else { (&link.z, &link.a) };
        let name = label(&format!("{} – {}", a.interface, z.interface));
        let _ = writeln!(text, "  n{} ---|{name}| n{}", a.at, z.at);
    }
    let is = |health: Health| {
        let nodes = picture.nodes.iter().enumerate().filter(move |(_, node)| node.health() == health);
        nodes.map(|(at, _)| format!("n{at}")).collect::<Vec<_>>().join(",")
    };
    for (health, style) in [(Health::Good, "stroke:#1a7f37"), (Health::Bad, "stroke:#cf222e,stroke-dasharray:6 4")] {
        let nodes = is(health);
        if !nodes.is_empty() {
            let _ = writeln!(text, "  classDef {} {style}\n  class {nodes} {}", health.name(), health.name());
        }
        let links = picture.links.iter().enumerate().filter(|(_, link)| link.health() == health);
        let links: Vec<String> = links.map(|(at, _)| at.to_string()).collect();
        if !links.is_empty() {
            let _ = writeln!(text, "  linkStyle {} {style}", links.join(","));
        }
    }
    text
}

/// A label; characters that the language reads are written as its entities.
fn label(text: &str) -> String {
    let mut safe = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '#' | ';' | '<' | '>' | '&' | '`' | '\\' => {
                let _ = write!(safe, "#{};", u32::from(c));
            }
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe.push('"');
    safe
}

/// A string of the head, which is YAML; one of JSON is one of YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
