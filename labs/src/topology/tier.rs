//! The tiers of a datacenter: how high a node stands, from what its author calls it, or else from its links.
//!
//! | what counts, the first that is there | height |
//! |---|---|
//! | containerlab's label `graph-level` on any node: 1 is the highest | its level, counted from below |
//! | groups that differ in a number alone, as `generate` writes them (`tier-1`, `tier-2`) | that number |
//! | the beginning of its group, then of its name ([`by_name`]) | 0 for servers, 1 for leaves, … |
//! | neighbours whose height is known | one below the lowest of them, or above servers |
//! | nothing at all | how many links it is away from the nodes with the fewest neighbours |

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Topology;

/// Beginnings of names, from below.
const STEMS: [&[&str]; 4] =
    [&["server", "host", "node", "boot", "client"], &["leaf", "tor"], &["spine"], &["superspine", "core", "border"]];
/// containerlab's label for its own drawing.
const LEVEL: &str = "graph-level";

/// The height of a node or group by the beginning of its name: 0 servers, 1 leaves, 2 spines, 3 what is above; `None`: it says nothing.
#[must_use]
pub fn by_name(name: &str) -> Option<usize> {
    STEMS.iter().position(|stems| stems.iter().any(|stem| name.starts_with(stem)))
}

/// Every node's row, the highest 0; no row is empty.
#[must_use]
pub fn rows(topology: &Topology) -> BTreeMap<&str, usize> {
    let neighbors = neighbors(topology);
    let mut heights = said(topology);
    if heights.is_empty() {
        heights = from_ends(&neighbors);
    } else {
        spread(&neighbors, &mut heights);
    }
    for name in topology.nodes.keys() {
        heights.entry(name).or_insert(0); // linked to nobody who says anything
    }
    let used: BTreeSet<usize> = heights.values().copied().collect();
    let row: BTreeMap<usize, usize> = used.into_iter().rev().enumerate().map(|(row, height)| (height, row)).collect();
    heights.into_iter().map(|(name, height)| (name, row.get(&height).copied().unwrap_or(0))).collect()
}

/// What the file says of heights.
fn said(topology: &Topology) -> BTreeMap<&str, usize> {
    let level = |labels: &BTreeMap<String, String>| labels.get(LEVEL).and_then(|text| text.parse::<usize>().ok());
    let levels: BTreeMap<&str, usize> =
        topology.nodes.values().filter_map(|node| Some((node.name.as_str(), level(&node.labels)?))).collect();
    if let Some(lowest) = levels.values().max().copied() {
        return levels.into_iter().map(|(name, level)| (name, lowest - level)).collect();
    }
    let numbers: Vec<(&str, &str, usize)> = topology
        .nodes
        .values()
        .filter_map(|node| {
            let (prefix, number) = node.group.as_deref()?.rsplit_once('-')?;
            Some((node.name.as_str(), prefix, number.parse().ok()?))
        })
        .collect();
    let one_prefix = numbers.first().is_some_and(|first| numbers.iter().all(|other| other.1 == first.1));
    if one_prefix && numbers.len() == topology.nodes.len() {
        return numbers.into_iter().map(|(name, _, number)| (name, number)).collect();
    }
    let of = |node: &super::NodeSpec| node.group.as_deref().and_then(by_name).or_else(|| by_name(&node.name));
    topology.nodes.values().filter_map(|node| Some((node.name.as_str(), of(node)?))).collect()
}

fn neighbors(topology: &Topology) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut neighbors: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for link in topology.links.iter().filter(|link| link.a.node != link.b.node) {
        neighbors.entry(&link.a.node).or_default().insert(&link.b.node);
        neighbors.entry(&link.b.node).or_default().insert(&link.a.node);
    }
    neighbors
}

/// Gives heights to all that hang on nodes which have one.
fn spread<'a>(neighbors: &BTreeMap<&'a str, BTreeSet<&'a str>>, heights: &mut BTreeMap<&'a str, usize>) {
    let mut queue: VecDeque<&str> = heights.keys().copied().collect();
    while let Some(name) = queue.pop_front() {
        for other in neighbors.get(name).into_iter().flatten() {
            if heights.contains_key(other) {
                continue;
            }
            let known = neighbors.get(other).into_iter().flatten().filter_map(|next| heights.get(next));
            let lowest = known.min().copied().unwrap_or(0);
            heights.insert(other, lowest.checked_sub(1).unwrap_or(1));
            queue.push_back(other);
        }
    }
}

/// How far every node is from the nearest of those with the fewest neighbours.
fn from_ends<'a>(neighbors: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeMap<&'a str, usize> {
    let fewest = neighbors.values().map(BTreeSet::len).min().unwrap_or(0);
    let ends = neighbors.iter().filter(|(_, others)| others.len() == fewest).map(|(name, _)| *name);
    let mut heights: BTreeMap<&str, usize> = ends.map(|name| (name, 0)).collect();
    let mut queue: VecDeque<(&str, usize)> = heights.iter().map(|(name, height)| (*name, *height)).collect();
    while let Some((name, height)) = queue.pop_front() {
        for other in neighbors.get(name).into_iter().flatten() {
            if !heights.contains_key(other) {
                heights.insert(other, height + 1);
                queue.push_back((other, height + 1));
            }
        }
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn rows_of(nodes: &str, links: &[[&str; 2]]) -> Vec<Vec<String>> {
        let mut text = format!("name: t\ntopology:\n  defaults: {{image: alpine}}\n  nodes: {nodes}\n");
        text.push_str(if links.is_empty() { "" } else { "  links:\n" });
        for (number, [a, b]) in links.iter().enumerate() {
            text.push_str(&format!("    - endpoints: [\"{a}:e{number}\", \"{b}:e{number}\"]\n"));
        }
        let topology = Topology::parse(&text, Path::new("/t.clab.yml"), &|_| None).unwrap();
        let rows = rows(&topology);
        let count = rows.values().max().unwrap() + 1;
        let of = |row| rows.iter().filter(|(_, at)| **at == row).map(|(name, _)| (*name).to_owned()).collect();
        (0..count).map(of).collect()
    }

    #[test]
    fn names_say_the_tier_and_neighbours_say_the_rest() {
        let links = [["spine1", "leaf1"], ["leaf1", "db"], ["db", "tool"], ["superspine1", "spine1"]];
        assert_eq!(
            rows_of("{spine1: {}, leaf1: {}, db: {}, tool: {}, superspine1: {}}", &links),
            [vec!["superspine1"], vec!["spine1"], vec!["leaf1", "tool"], vec!["db"]]
        );
    }

    #[test]
    fn a_group_counts_before_a_name_and_a_label_before_both() {
        let groups = "{node1-1: {group: tier-1}, node2-1: {group: tier-2}}";
        assert_eq!(rows_of(groups, &[["node1-1", "node2-1"]]), [["node2-1"], ["node1-1"]]);
        assert_eq!(rows_of("{node1: {group: spines}, node2: {}}", &[]), [["node1"], ["node2"]]);
        let labels = "{spine1: {labels: {graph-level: '2'}}, node2: {labels: {graph-level: '1'}}}";
        assert_eq!(rows_of(labels, &[["spine1", "node2"]]), [["node2"], ["spine1"]]);
    }

    #[test]
    fn without_any_word_ends_are_below() {
        let star = [["a", "m"], ["b", "m"], ["c", "m"]];
        assert_eq!(rows_of("{a: {}, b: {}, c: {}, m: {}}", &star), [vec!["m"], vec!["a", "b", "c"]]);
        let ring = [["a", "b"], ["b", "c"], ["c", "a"]];
        assert_eq!(rows_of("{a: {}, b: {}, c: {}}", &ring), [vec!["a", "b", "c"]]);
    }
}
