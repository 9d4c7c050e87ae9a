//! Who is meant by the groups that expectations name.

use std::collections::BTreeSet;

use serde_saphyr::Spanned;

use super::Topology;
use super::file::Fault;
use crate::expect::{Expectation, Group, What};
use crate::step::Step;

/// The word for all nodes that are in a group.
const ALL: &str = "all";

/// Puts expectations and steps into the topology, with the nodes of the groups in them.
pub(super) fn resolve(
    topology: &mut Topology,
    expect: Vec<Spanned<Expectation>>,
    steps: Vec<Spanned<Step>>,
) -> Result<(), Fault> {
    for (number, mut expectation) in expect.into_iter().enumerate() {
        fill(topology, &mut expectation.value)
            .map_err(|message| Fault::new(&expectation, format!("expect[{number}]"), message))?;
        topology.expect.push(expectation.value);
    }
    for (number, mut step) in steps.into_iter().enumerate() {
        let filled = step.value.expect.iter_mut().try_for_each(|expectation| fill(topology, expectation));
        filled.map_err(|message| Fault::new(&step, format!("steps[{number}].expect"), message))?;
        topology.steps.push(step.value);
    }
    Ok(())
}

/// Gives the groups of an expectation their nodes.
pub(super) fn fill(topology: &Topology, expectation: &mut Expectation) -> Result<(), String> {
    let What::Reach { each, reaches } = &mut expectation.what else { return Ok(()) };
    [each, reaches].into_iter().try_for_each(|group| members(topology, group))
}

fn members(topology: &Topology, group: &mut Group) -> Result<(), String> {
    let of = |name: &str| topology.nodes.get(name).and_then(|node| node.group.as_deref());
    let is_in = |name: &&String| of(name).is_some_and(|own| group.name == ALL || own == group.name);
    group.nodes = topology.nodes.keys().filter(is_in).cloned().collect();
    if group.nodes.is_empty() {
        let groups: BTreeSet<&str> = topology.nodes.keys().filter_map(|name| of(name)).collect();
        let groups = groups.into_iter().collect::<Vec<_>>().join(", ");
        let known =
            if groups.is_empty() { "give nodes a `group:`".to_owned() } else { format!("there are {groups}, {ALL}") };
        return Err(format!("no node is in group `{}`: {known}", group.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(tail: &str) -> Result<Topology, String> {
        let nodes = "    a: {group: leaf}\n    b: {group: leaf}\n    s: {group: server}\n    x: {}\n";
        let text = format!("name: t\ntopology:\n  defaults: {{kind: linux, image: alpine}}\n  nodes:\n{nodes}{tail}");
        Topology::parse(&text, Path::new("/t/t.clab.yml"), &|_| None).map_err(|error| error.to_string())
    }

    #[test]
    fn a_group_has_its_nodes_and_all_is_whoever_is_in_one() {
        let topology = read("expect:\n  - {each: leaf, reaches: all}\n").unwrap();
        let What::Reach { each, reaches } = &topology.expect[0].what else { panic!("{:?}", topology.expect) };
        assert_eq!((each.nodes.join(" "), reaches.nodes.join(" ")), ("a b".to_owned(), "a b s".to_owned()));
    }

    #[test]
    fn a_group_without_nodes_is_said_with_its_line() {
        let error = read("expect:\n  - {each: leaf, reaches: all}\n  - {each: leafs, reaches: all}\n").unwrap_err();
        for part in ["t.clab.yml:11:", "expect[1]", "`leafs`", "leaf, server, all"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let steps = "steps:\n  - {step: one, kill: a, expect: [{each: all, reaches: spine}]}\n";
        assert!(read(steps).unwrap_err().contains("steps[0].expect"));
    }
}
