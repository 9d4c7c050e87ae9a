//! Whether the places of `faults:` are there.

use serde_saphyr::Spanned;

use super::file::Fault;
use super::{Topology, group};
use crate::fault::Incident;

/// Puts what goes wrong into the topology.
pub(super) fn resolve(topology: &mut Topology, list: Vec<Spanned<Incident>>) -> Result<(), Fault> {
    for (number, mut incident) in list.into_iter().enumerate() {
        let fault = &incident.value.fault;
        let filled = if let Some(end) = fault.end() {
            let mut ends = topology.links.iter().flat_map(|link| [&link.a, &link.b]);
            let is_there = ends.any(|one| one.node == end.node && one.interface == end.interface);
            is_there.then_some(()).ok_or_else(|| ("link", format!("no link ends at `{end}`")))
        } else {
            let unknown = fault.nodes().find(|name| !topology.nodes.contains_key(*name));
            unknown.map_or(Ok(()), |name| Err(("node", format!("there is no node `{name}`"))))
        };
        let filled = filled.and_then(|()| {
            let mut expect = incident.value.expect.iter_mut();
            expect.try_for_each(|one| group::fill(topology, one)).map_err(|message| ("expect", message))
        });
        filled.map_err(|(key, message)| Fault::new(&incident, format!("faults[{number}].{key}"), message))?;
        topology.faults.push(incident.value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(line: &str) -> Result<Topology, String> {
        let text = format!(
            "name: t\ntopology:\n  defaults: {{kind: linux, image: alpine}}\n  nodes: {{a: {{group: leaf}}, b: {{}}}}\n  \
             links: [{{endpoints: [\"a:e1\", \"b:e1\"]}}]\nfaults:\n  - {line}\n"
        );
        Topology::parse(&text, Path::new("/t/t.clab.yml"), &|_| None).map_err(|error| error.to_string())
    }

    #[test]
    fn places_that_are_not_there_are_said_with_line_and_field() {
        assert_eq!(read("{at: 1, link: \"a:e1\", do: unplug}").unwrap().faults.len(), 1);
        for (line, said) in [
            ("{at: 1, link: \"a:e2\", do: unplug}", "faults[0].link: no link ends at `a:e2`"),
            ("{at: 1, node: c, do: kill}", "faults[0].node: there is no node `c`"),
            ("{at: 1, partition: [a, c]}", "faults[0].node: there is no node `c`"),
            ("{at: 1, node: a, do: burn}", "faults[0]"),
            ("{at: 1, node: a, do: kill, expect: [{each: x, reaches: leaf}]}", "faults[0].expect"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.starts_with("/t/t.clab.yml:7:") && error.contains(said), "{line}: {error}");
        }
    }
}
