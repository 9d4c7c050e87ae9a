//! What a lab with many links needs: neighbours that are told to the kernels instead of being asked for.
//!
//! The kernel has one table of neighbours for each address family and for all network namespaces together. From `gc_thresh3` entries on (1,024
//! unless the machine's own is set otherwise, which a lab does not) it makes no new ones, and packets to whoever is missing are dropped. Entries
//! that are permanent are not counted. A lab knows all its addresses, so it can make them.

use std::net::IpAddr;

use crate::topology::{self, Endpoint, NodeSpec, Topology};

/// Links of a lab up to which neighbours find each other as elsewhere: two entries a link are half of the table, and other labs have it too.
const ROOMY: usize = 256;

/// A neighbour on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Neighbour<'a> {
    /// The interface's name.
    pub(super) interface: &'a str,
    /// The neighbour's address.
    pub(super) address: IpAddr,
    /// Its hardware address.
    pub(super) mac: [u8; 6],
}

/// The neighbours of a node over cables; none in a lab that has few links. (Behind a bridge there are many, and they find each other.)
pub(super) fn neighbours<'a>(topology: &'a Topology, node: &str) -> Vec<Neighbour<'a>> {
    let mut found = Vec::new();
    if topology.links.len() <= ROOMY {
        return found;
    }
    for (near, far) in topology.links.iter().flat_map(|link| [(&link.a, &link.b), (&link.b, &link.a)]) {
        if near.node != node || is_port(topology, near) || is_port(topology, far) {
            continue;
        }
        let given = topology.nodes.get(&far.node).and_then(|node| node.addresses.get(&far.interface));
        let given = given.into_iter().flatten().map(ipnet::IpNet::addr);
        for address in given.chain([IpAddr::V6(topology::link_local(far.mac))]) {
            found.push(Neighbour { interface: &near.interface, address, mac: far.mac });
        }
    }
    found
}

/// What a reader of the lab has to know of that.
pub(super) fn warning(topology: &Topology) -> Option<String> {
    let links = topology.links.len();
    (links > ROOMY).then(|| {
        format!("{links} links: neighbours are made permanent, because the kernel has one table of 1,024 for all nodes together")
    })
}

fn is_port(topology: &Topology, end: &Endpoint) -> bool {
    let has_port = |node: &NodeSpec| node.bridges.values().any(|bridge| bridge.ports.contains(&end.interface));
    topology.nodes.get(&end.node).is_none_or(|node| node.kind != "linux" || has_port(node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use std::path::Path;

    fn topology(links: usize) -> Topology {
        let mut text = "name: t\ntopology:\n  defaults: {kind: linux, image: alpine}\n  nodes: {a: {}, b: {}, lan: {kind: bridge}}\n  links:\n".to_owned();
        for link in 0..links {
            let _ = writeln!(text, "    - endpoints: [\"a:e{link}\", \"b:e{link}\"]");
        }
        text.push_str("    - endpoints: [\"a:lan\", \"lan:p1\"]\n");
        text.push_str("    - {type: veth, endpoints: [{node: a, interface: x, ipv4: 10.0.0.1/30}, {node: b, interface: x, mac: \"02:00:00:00:00:0b\"}]}\n");
        Topology::parse(&text, Path::new("/t/t.clab.yml"), &|_| None).unwrap()
    }

    #[test]
    fn few_links_are_left_alone() {
        let topology = topology(ROOMY - 2);
        assert!(neighbours(&topology, "a").is_empty() && warning(&topology).is_none());
    }

    #[test]
    fn of_many_links_both_ends_know_all_addresses_of_each_other_but_not_over_a_bridge() {
        let topology = topology(ROOMY);
        let on = |node: &str, interface: &str| -> Vec<String> {
            let found = neighbours(&topology, node).into_iter().filter(|neighbour| neighbour.interface == interface);
            found.map(|neighbour| neighbour.address.to_string()).collect()
        };
        assert_eq!(on("a", "x"), ["fe80::ff:fe00:b"]);
        assert_eq!(on("b", "x")[0], "10.0.0.1");
        assert_eq!(
            (on("b", "x").len(), on("a", "lan").len(), on("lan", "p1").len(), on("a", "e7").len()),
            (2, 0, 0, 1)
        );
        assert!(warning(&topology).unwrap().contains("258 links"));
    }
}
