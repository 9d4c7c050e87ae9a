//! Drawings of a topology: its nodes in the tiers of a datacenter ([`crate::topology::tier`]), its links between them, and of a running
//! lab which sessions stand on a link and what goes over it. Pure: from a [`Topology`] and what was [`Seen`] to text.
//!
//! ```text
//! Topology ─┐                       ┌─ dot, mermaid     for other programs to lay out
//!           ├─▶ Picture ── layout ──┼─ svg, html        laid out here; nothing is fetched from a network
//! Seen ─────┘   rows, order         └─ json             for scripts
//! ```

mod dot;
mod html;
mod layout;
mod mermaid;
mod order;
pub mod seen;
mod svg;

use serde::Serialize;

use self::seen::{LinkSeen, NodeSeen, Seen};
use crate::topology::{Topology, tier};

/// The languages of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// Graphviz
    Dot,
    /// Mermaid, as Markdown pages of many sites draw it
    Mermaid,
    /// A picture
    Svg,
    /// A page with the picture and a table of nodes
    Html,
    /// Nodes with their rows, and links
    Json,
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Picture {
    /// The lab's name.
    pub name: String,
    /// Row by row from above, in each from the left.
    pub nodes: Vec<Node>,
    /// In the file's order.
    pub links: Vec<Link>,
}

/// A node of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// containerlab's kind.
    pub kind: String,
    /// Which daemon runs in it.
    pub runs: String,
    /// Its group, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Row, 0 the highest.
    pub row: usize,
    /// What was seen of it, if the lab runs.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub seen: Option<NodeSeen>,
}

/// A link of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// One end.
    pub a: End,
    /// The other.
    pub z: End,
    /// What was seen of it, if the lab runs.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub seen: Option<LinkSeen>,
}

/// An end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct End {
    /// Node.
    pub node: String,
    /// Interface.
    pub interface: String,
    /// Place of the node among those of the picture.
    #[serde(skip)]
    at: usize,
}

impl Picture {
    /// Puts every node into its row and place.
    #[must_use]
    pub fn new(topology: &Topology, seen: Option<&Seen>) -> Self {
        let rows = order::sorted(topology, &tier::rows(topology));
        let place: std::collections::BTreeMap<&str, usize> =
            rows.iter().flatten().enumerate().map(|(at, name)| (*name, at)).collect();
        let node = |row: usize, name: &str| {
            let spec = topology.nodes.get(name)?;
            Some(Node {
                name: name.to_owned(),
                kind: spec.kind.clone(),
                runs: spec.personality.name().to_owned(),
                group: spec.group.clone(),
                row,
                seen: seen.and_then(|seen| seen.nodes.get(name).cloned()),
            })
        };
        let end = |end: &crate::topology::Endpoint| End {
            node: end.node.clone(),
            interface: end.interface.clone(),
            at: place.get(end.node.as_str()).copied().unwrap_or(0),
        };
        let links = topology.links.iter().map(|link| Link {
            a: end(&link.a),
            z: end(&link.b),
            seen: seen.and_then(|seen| seen.link(&link.a, &link.b)),
        });
        Self {
            name: topology.name.clone(),
            nodes: rows
                .iter()
                .enumerate()
                .flat_map(|(row, names)| names.iter().filter_map(move |name| node(row, name)))
                .collect(),
            links: links.collect(),
        }
    }

    /// Draws it.
    #[must_use]
    pub fn draw(&self, language: Language) -> String {
        match language {
            Language::Dot => dot::draw(self),
            Language::Mermaid => mermaid::draw(self),
            Language::Svg => svg::draw(self),
            Language::Html => html::draw(self),
            Language::Json => serde_json::to_string_pretty(self).unwrap_or_default() + "\n",
        }
    }

    /// Whether it shows a running lab.
    fn is_live(&self) -> bool {
        self.nodes.iter().any(|node| node.seen.is_some())
    }
}

impl Node {
    /// The second line of its box.
    fn note(&self) -> String {
        let runs = if self.kind == "linux" || self.runs != "plain" { &self.runs } else { &self.kind };
        match &self.seen {
            Some(NodeSeen { state, .. }) if state != "running" => format!("{runs}, {state}"),
            Some(NodeSeen { sessions: Some((up, all)), .. }) => format!("{runs} {up}/{all}"),
            Some(_) | None => runs.clone(),
        }
    }

    /// How it is.
    fn health(&self) -> Health {
        match &self.seen {
            Some(NodeSeen { state, .. }) if state != "running" => Health::Bad,
            Some(NodeSeen { sessions: Some((up, all)), .. }) if up < all => Health::Bad,
            Some(NodeSeen { sessions: Some(_), .. }) => Health::Good,
            Some(NodeSeen { sessions: None, .. }) | None => Health::Unknown,
        }
    }
}

impl Link {
    /// How it is.
    fn health(&self) -> Health {
        match &self.seen {
            None => Health::Unknown,
            Some(seen) if !seen.up || seen.sessions.0 < seen.sessions.1 => Health::Bad,
            Some(seen) if seen.sessions.1 == 0 => Health::Unknown,
            Some(_) => Health::Good,
        }
    }

    /// Its sentence: ends, and what was seen.
    fn title(&self) -> String {
        let ends = format!("{}:{} – {}:{}", self.a.node, self.a.interface, self.z.node, self.z.interface);
        let Some(seen) = &self.seen else {
            return ends;
        };
        let carrier = if seen.up { "up" } else { "down" };
        let (up, all) = seen.sessions;
        let sessions = if all == 0 { String::new() } else { format!(", {up} of {all} sessions established") };
        let load = seen.bits_per_s;
        format!("{ends}: {carrier}{sessions}, {} one way, {} the other", rate(load[0]), rate(load[1]))
    }
}

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    Bad,
    Unknown,
}

impl Health {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Unknown => "plain",
        }
    }
}

/// Bits per second for a person, two or three digits.
fn rate(bits: u64) -> String {
    let units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"];
    let (mut value, mut unit) = (bits.saturating_mul(10), 0);
    while value >= 10_000 && unit + 1 < units.len() {
        (value, unit) = (value / 1000, unit + 1);
    }
    let (whole, tenth) = (value / 10, value % 10);
    if whole < 10 && unit > 0 { format!("{whole}.{tenth} {}", units[unit]) } else { format!("{whole} {}", units[unit]) }
}

/// Text between tags or in an attribute: nothing in it opens or closes anything.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests;
