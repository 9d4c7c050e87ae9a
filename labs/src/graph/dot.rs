//! A drawing in the language of Graphviz: one rank for each row.

use std::fmt::Write as _;

use super::{Health, Picture};

/// Draws it.
pub(super) fn draw(picture: &Picture) -> String {
    let mut dot =
        format!("graph {} {{\n  rankdir=TB;\n  node [shape=box, fontname=monospace];\n", quoted(&picture.name));
    let last = picture.nodes.last().map_or(0, |node| node.row);
    for row in 0..=last {
        dot.push_str("  { rank=same;\n");
        for node in picture.nodes.iter().filter(|node| node.row == row) {
            let label = format!("{}\n{}", node.name, node.note());
            let _ = writeln!(dot, "    {} [label={}{}];", quoted(&node.name), quoted(&label), color(node.health()));
        }
        dot.push_str("  }\n");
    }
    for link in &picture.links {
        let (a, z) = if link.a.at <= link.z.at { (&link.a, &link.z) } else { (&link.z, &link.a) };
        let _ = writeln!(
            dot,
            "  {} -- {} [taillabel={}, headlabel={}, tooltip={}{}];",
            quoted(&a.node),
            quoted(&z.node),
            quoted(&a.interface),
            quoted(&z.interface),
            quoted(&link.title()),
            color(link.health())
        );
    }
    dot.push_str("}\n");
    dot
}

fn color(health: Health) -> &'static str {
    match health {
        Health::Good => ", color=\"#1a7f37\"",
        Health::Bad => ", color=\"#cf222e\", style=dashed",
        Health::Unknown => "",
    }
}

/// A string of the language: a quote or a backslash in it ends and means nothing.
fn quoted(text: &str) -> String {
    let mut safe = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => safe.push_str("\\\""),
            '\\' => safe.push_str("\\\\"),
            '\n' => safe.push_str("\\n"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe.push('"');
    safe
}
