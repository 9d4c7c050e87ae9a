//! Draws a plant as text: the spines and what is above them in one row, and a box per rack with its switches and
//! servers; beside each node how many of its sessions stand and how many routes its kernel learnt.
//!
//! A node's place follows from its name ([`tier::by_name`]: spines and what is above them; switches; all else servers)
//! and a server's rack from the switches it is linked to.

use std::collections::{BTreeMap, BTreeSet};

use crate::topology::tier;
use crate::verify::LinkEnd;

/// Servers of a rack in the same state that have a line each; of more, the first and the last are named.
const ALIKE: usize = 4;

/// What is shown of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// What it runs.
    pub personality: String,
    /// Sessions established, of all; `None` when its daemon was not asked or does not answer.
    pub sessions: Option<(usize, usize)>,
    /// Routes that a routing protocol put into its kernel.
    pub routes: usize,
}

impl NodeState {
    fn cell(&self) -> String {
        format!("{}{}", self.name, self.state())
    }

    /// All but the name.
    fn state(&self) -> String {
        if self.personality == "plain" {
            return format!(" [plain], {} routes", self.routes);
        }
        let sessions = self.sessions.map_or_else(|| "?".to_owned(), |(up, all)| format!("{up}/{all}"));
        let mark = match self.sessions {
            Some((up, all)) if up < all => '!',
            Some(_) => '✓',
            None => '?',
        };
        let other = if self.personality == "weft" { String::new() } else { format!(" [{}]", self.personality) };
        format!("{other} {mark} {sessions} sessions, {} routes", self.routes)
    }
}

/// The drawing.
#[must_use]
pub fn draw(nodes: &[NodeState], links: &[[LinkEnd; 2]]) -> String {
    let mut racks: BTreeMap<BTreeSet<&str>, Vec<&NodeState>> = BTreeMap::new();
    let mut text = String::new();
    for node in nodes {
        if is_above(&node.name) {
            text.push_str(&format!("    {}\n", node.cell()));
        } else if !is_switch(&node.name) {
            let switches = links.iter().filter_map(|[a, b]| match (a.0 == node.name, b.0 == node.name) {
                (true, _) => Some(b.0.as_str()),
                (_, true) => Some(a.0.as_str()),
                _ => None,
            });
            racks.entry(switches.filter(|name| is_switch(name)).collect()).or_default().push(node);
        }
    }
    for (number, (switches, servers)) in racks.iter().enumerate() {
        let head = nodes.iter().filter(|node| switches.contains(node.name.as_str())).map(NodeState::cell);
        let body = shortened(servers).into_iter().map(|line| format!("   {line}"));
        let lines: Vec<String> = head.chain(body).collect();
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0).max(12);
        let title = format!(" rack {number} ");
        text.push_str(&format!("┌─{title}{}┐\n", "─".repeat(width + 1 - title.chars().count())));
        for line in lines {
            text.push_str(&format!("│ {line}{} │\n", " ".repeat(width - line.chars().count())));
        }
        text.push_str(&format!("└{}┘\n", "─".repeat(width + 2)));
    }
    text
}

/// A line for each server; those that are alike share one when there are many.
fn shortened(servers: &[&NodeState]) -> Vec<String> {
    let mut alike: BTreeMap<String, Vec<&NodeState>> = BTreeMap::new();
    for node in servers {
        alike.entry(node.state()).or_default().push(node);
    }
    let mut lines = Vec::new();
    for node in servers {
        let state = node.state();
        let group = alike.get(&state).map_or(&[][..], Vec::as_slice);
        if group.len() <= ALIKE {
            lines.push(node.cell());
        } else if let [first, .., last] = group
            && first.name == node.name
        {
            lines.push(format!("{} … {} ({}){state}", first.name, last.name, group.len()));
        }
    }
    lines
}

fn is_above(name: &str) -> bool {
    tier::by_name(name) > Some(1)
}

fn is_switch(name: &str) -> bool {
    tier::by_name(name) == Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, sessions: Option<(usize, usize)>) -> NodeState {
        NodeState { name: name.to_owned(), personality: "weft".to_owned(), sessions, routes: 7 }
    }

    #[test]
    fn a_rack_is_a_box_of_switches_and_their_servers() {
        let end = |node: &str, interface: &str| (node.to_owned(), interface.to_owned());
        let links = [
            [end("spine1", "eth1"), end("tor1", "eth1")],
            [end("tor1", "eth3"), end("node1", "eth0")],
            [end("tor2", "eth3"), end("node1", "eth1")],
        ];
        let nodes =
            [node("spine1", Some((1, 1))), node("tor1", Some((1, 2))), node("tor2", None), node("node1", Some((2, 2)))];
        let expected = "    spine1 ✓ 1/1 sessions, 7 routes\n\
                        ┌─ rack 0 ─────────────────────────┐\n\
                        │ tor1 ! 1/2 sessions, 7 routes    │\n\
                        │ tor2 ? ? sessions, 7 routes      │\n\
                        │    node1 ✓ 2/2 sessions, 7 routes │\n\
                        └──────────────────────────────────┘\n";
        let drawn = draw(&nodes, &links);
        let widths: BTreeSet<usize> = drawn.lines().skip(1).map(|line| line.chars().count()).collect();
        assert_eq!(widths.len(), 1, "{drawn}");
        assert_eq!(drawn.lines().count(), expected.lines().count());
        assert!(drawn.contains("│ tor1 ! 1/2 sessions, 7 routes"), "{drawn}");
    }

    #[test]
    fn many_servers_that_are_alike_share_a_line_and_others_stand_out() {
        let names: Vec<String> = (1..=6).map(|number| format!("node{number}")).collect();
        let end = |node: &str, interface: &str| (node.to_owned(), interface.to_owned());
        let links: Vec<_> = names.iter().map(|name| [end("tor1", name), end(name, "eth0")]).collect();
        let mut nodes: Vec<NodeState> = names.iter().map(|name| node(name, Some((2, 2)))).collect();
        nodes[3] = node("node4", Some((1, 2)));
        nodes.push(node("tor1", Some((6, 6))));
        let drawn = draw(&nodes, &links);
        assert!(drawn.contains("node1 … node6 (5) ✓ 2/2 sessions, 7 routes"), "{drawn}");
        assert!(drawn.contains("node4 ! 1/2 sessions") && !drawn.contains("node2"), "{drawn}");
    }
}
