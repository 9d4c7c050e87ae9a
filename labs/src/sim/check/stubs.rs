//! What a Clos promises whose servers are told a default route: every way to a server is used, none leads anywhere else. The reference
//! is the cables alone; all of it runs.

use crate::sim::Sim;
use crate::sim::fib::Lookup;
use crate::sim::network::{NodeId, Port};
use crate::topology::tier;
use std::collections::BTreeSet;
use weft_bgp::types::IpNet;

impl Sim {
    /// At these nodes, packets for each of these servers go to all neighbours that are nearer to it, and to nobody else.
    ///
    /// # Errors
    /// Where they do not.
    pub fn every_way(&self, nodes: &BTreeSet<NodeId>, servers: &BTreeSet<NodeId>) -> Result<(), String> {
        let mut wrong = Vec::new();
        for &server in servers {
            let Some(prefix) = self.machine(server).config.addresses.first().map(IpNet::trunc) else {
                continue;
            };
            for &node in nodes.iter().filter(|node| **node != server) {
                let (found, expected) = (self.goes_to(node, &prefix), self.way(node, server));
                if found != expected {
                    let name = |node: &NodeId| self.machine(*node).name.clone();
                    let names = |set: &BTreeSet<NodeId>| set.iter().map(name).collect::<Vec<_>>().join(", ");
                    wrong.push(format!(
                        "{}: to {} by way of [{}], the cables say [{}]",
                        name(&node),
                        name(&server),
                        names(&found),
                        names(&expected)
                    ));
                }
            }
        }
        super::none(wrong)
    }

    /// Servers of a Clos.
    #[must_use]
    pub fn servers(&self) -> BTreeSet<NodeId> {
        self.everybody().into_iter().filter(|node| self.tier(*node) == 0).collect()
    }

    fn goes_to(&self, node: NodeId, prefix: &IpNet) -> BTreeSet<NodeId> {
        if self.tier(node) > 0 {
            return self.next_nodes(node, prefix);
        }
        let machine = self.machine(node);
        let Lookup::Hops(hops) = machine.fib.lookup(prefix.addr(), &machine.links) else {
            return BTreeSet::new();
        };
        let owner = |link, gateway| self.plane().owner(Port { node, link }, gateway);
        hops.iter().filter_map(|hop| owner(hop.link, hop.gateway)).map(|port| port.node).collect()
    }

    /// The neighbours on the shortest ways.
    fn way(&self, node: NodeId, server: NodeId) -> BTreeSet<NodeId> {
        let (around, last) = (self.around(node), self.around(server));
        match self.tier(node) {
            1 if last.contains(&node) => BTreeSet::from([server]),
            1 => around.into_iter().filter(|far| self.tier(*far) == 2).collect(),
            2 => around.intersection(&last).copied().collect(),
            _ => around,
        }
    }

    fn around(&self, node: NodeId) -> BTreeSet<NodeId> {
        let ends = self.network().cables_of(node).flat_map(|cable| self.network().ends(cable));
        ends.map(|port| port.node).filter(|far| *far != node).collect()
    }

    fn tier(&self, node: NodeId) -> usize {
        tier::by_name(&self.machine(node).name).unwrap_or_default()
    }
}
