//! The order of nodes within a row: by name, then moved below the middle of their neighbours, so that few links cross.

use std::collections::BTreeMap;

use crate::topology::Topology;

/// Passes down and up: more change nothing in a Clos.
const SWEEPS: usize = 4;

/// The rows from above, each from the left.
pub(super) fn sorted<'a>(topology: &'a Topology, row_of: &BTreeMap<&'a str, usize>) -> Vec<Vec<&'a str>> {
    let count = row_of.values().max().map_or(0, |last| last + 1);
    let mut rows: Vec<Vec<&str>> = vec![Vec::new(); count];
    for (name, row) in row_of {
        rows[*row].push(name);
    }
    for row in &mut rows {
        row.sort_by_cached_key(|name| natural(name));
    }
    let mut neighbors: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for link in &topology.links {
        neighbors.entry(&link.a.node).or_default().push(&link.b.node);
        neighbors.entry(&link.b.node).or_default().push(&link.a.node);
    }
    for sweep in 0..SWEEPS {
        for step in 0..count {
            let (at, is_down) = if sweep % 2 == 0 { (step, true) } else { (count - 1 - step, false) };
            let places = places(&rows);
            let towards = |name: &str| {
                let other = row_of.get(name).copied().unwrap_or(0);
                if is_down { other < at } else { other > at }
            };
            let middle = |name: &str| {
                let found: Vec<f64> = neighbors
                    .get(name)
                    .into_iter()
                    .flatten()
                    .filter(|other| towards(other))
                    .filter_map(|other| places.get(other).copied())
                    .collect();
                let middle = found.iter().sum::<f64>() / found.len().max(1) as f64;
                // sums of the same places in another order differ in their last digits
                (!found.is_empty()).then(|| (middle * 1e9).round() / 1e9)
            };
            let mut row: Vec<(f64, &str)> = rows[at]
                .iter()
                .map(|name| (middle(name).or_else(|| places.get(name).copied()).unwrap_or(0.0), *name))
                .collect();
            // stable: what has the same middle stays in the order of names
            row.sort_by(|a, b| a.0.total_cmp(&b.0));
            rows[at] = row.into_iter().map(|(_, name)| name).collect();
        }
    }
    rows
}

/// Where each node stands in its row, 0 to 1.
fn places<'a>(rows: &[Vec<&'a str>]) -> BTreeMap<&'a str, f64> {
    let place = |at: usize, row: &[&str]| (at as f64 + 0.5) / row.len() as f64;
    rows.iter().flat_map(|row| row.iter().enumerate().map(move |(at, name)| (*name, place(at, row)))).collect()
}

/// A key by which `leaf2` comes before `leaf10`: letters as they are, numbers by their value.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts: Vec<(String, u64)> = vec![(String::new(), 0)];
    let mut is_number = false;
    for c in name.chars() {
        if let Some(digit) = c.to_digit(10) {
            is_number = true;
            if let Some((_, number)) = parts.last_mut() {
                *number = number.saturating_mul(10).saturating_add(digit.into());
            }
        } else {
            if is_number {
                parts.push((String::new(), 0));
                is_number = false;
            }
            if let Some((text, _)) = parts.last_mut() {
                text.push(c);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tier;
    use std::path::Path;

    #[test]
    fn servers_stand_below_their_switches_and_numbers_count() {
        let mut text = "name: t\ntopology:\n  defaults: {image: alpine}\n  nodes:\n".to_owned();
        for name in ["leaf10", "leaf2", "server1", "server2", "server3"] {
            text.push_str(&format!("    {name}: {{}}\n"));
        }
        text.push_str("  links:\n");
        for [a, b] in [["server1", "leaf10"], ["server2", "leaf2"], ["server3", "leaf10"]] {
            text.push_str(&format!("    - endpoints: [\"{a}:up\", \"{b}:{a}\"]\n"));
        }
        let topology = Topology::parse(&text, Path::new("/t.clab.yml"), &|_| None).unwrap();
        let rows = sorted(&topology, &tier::rows(&topology));
        assert_eq!(rows, [vec!["leaf2", "leaf10"], vec!["server2", "server1", "server3"]]);
    }

    #[test]
    fn a_number_too_large_to_read_is_still_a_name() {
        assert!(natural("a2") < natural("a10"));
        assert!(natural("a") < natural("a99999999999999999999999999"));
    }
}
