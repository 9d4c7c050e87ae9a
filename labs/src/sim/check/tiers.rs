//! What a Clos promises: no packet goes down and up again, and every way is a shortest one, all of them in use. The reference walks
//! the cables and sessions tier by tier and knows neither AS_PATHs nor decisions.

use crate::sim::Sim;
use crate::sim::fib::Lookup;
use crate::sim::network::{NodeId, Port};
use crate::topology::tier;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use weft_bgp::types::IpNet;

impl Sim {
    /// No packet goes up after it went down.
    ///
    /// # Errors
    /// Where one would.
    pub fn valley_free(&self) -> Result<(), String> {
        let mut wrong = BTreeSet::new();
        for target in self.watch.targets() {
            for at in 0..self.machines().len() {
                self.descend(NodeId(at), *target, false, &mut BTreeSet::new(), &mut wrong);
            }
        }
        super::none(wrong.into_iter().collect())
    }

    fn descend(
        &self,
        node: NodeId,
        target: IpAddr,
        went_down: bool,
        seen: &mut BTreeSet<(NodeId, bool)>,
        wrong: &mut BTreeSet<String>,
    ) {
        if !seen.insert((node, went_down)) {
            return;
        }
        let machine = self.machine(node);
        let Lookup::Hops(hops) = machine.fib.lookup(target, &machine.links) else {
            return;
        };
        for hop in hops {
            let Some(next) = self.plane().owner(Port { node, link: hop.link }, hop.gateway) else {
                continue;
            };
            let far = &self.machine(next.node).name;
            let (Some(here), Some(there)) = (tier::by_name(&machine.name), tier::by_name(far)) else {
                continue;
            };
            if went_down && there > here {
                wrong.insert(format!("packets to {target} go down and then from {} up to {far}", machine.name));
            }
            self.descend(next.node, target, went_down || there < here, seen, wrong);
        }
    }

    /// Every kernel sends packets for a node's own address to all neighbours on a shortest way, and to nobody else.
    ///
    /// # Errors
    /// Where one does not.
    pub fn shortest(&self) -> Result<(), String> {
        let mut neighbors: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
        for [near, far] in self.talks(&self.everybody()) {
            neighbors.entry(near.0).or_default().insert(far.0);
        }
        let mut wrong = Vec::new();
        for (at, machine) in self.machines().iter().enumerate().filter(|(_, machine)| machine.daemon.is_some()) {
            let ways = self.ways(NodeId(at), &neighbors);
            for prefix in &machine.config.addresses {
                for (other, expected) in &ways {
                    let prefix = IpNet::from(prefix.addr());
                    let found = self.next_nodes(*other, &prefix);
                    if found != *expected {
                        let names = |set: &BTreeSet<NodeId>| {
                            set.iter().map(|node| self.machine(*node).name.clone()).collect::<Vec<_>>().join(", ")
                        };
                        wrong.push(format!(
                            "{}: {prefix} by way of [{}], the shortest ways go by [{}]",
                            self.machine(*other).name,
                            names(&found),
                            names(expected)
                        ));
                    }
                }
            }
        }
        super::none(wrong)
    }

    /// For every other node with a daemon: the neighbours on its shortest ways to `origin`.
    fn ways(
        &self,
        origin: NodeId,
        neighbors: &BTreeMap<NodeId, BTreeSet<NodeId>>,
    ) -> BTreeMap<NodeId, BTreeSet<NodeId>> {
        let level = |node: &NodeId| tier::by_name(&self.machine(*node).name).unwrap_or(0);
        let none = BTreeSet::new();
        // Nodes of one distance, and whether the news goes up still there.
        let mut front = BTreeMap::from([(origin, true)]);
        let mut ways: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
        while !front.is_empty() {
            let mut next: BTreeMap<NodeId, bool> = BTreeMap::new();
            let mut by: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
            for (node, rises) in &front {
                // A server tells of nobody else, and neither does who is out of service.
                if (level(node) == 0 || self.machine(*node).drained) && *node != origin {
                    continue;
                }
                for far in neighbors.get(node).unwrap_or(&none) {
                    let goes_up = level(far) > level(node);
                    if *far != origin && !ways.contains_key(far) && (*rises || !goes_up) {
                        by.entry(*far).or_default().insert(*node);
                        *next.entry(*far).or_insert(false) |= goes_up;
                    }
                }
            }
            ways.extend(by);
            front = next;
        }
        for (at, machine) in self.machines().iter().enumerate() {
            if machine.daemon.is_some() && NodeId(at) != origin {
                ways.entry(NodeId(at)).or_default();
            }
        }
        ways
    }

    /// The nodes that a kernel sends packets for a prefix to.
    pub(super) fn next_nodes(&self, node: NodeId, prefix: &IpNet) -> BTreeSet<NodeId> {
        let hops = self.hops(node, prefix).unwrap_or_default();
        let owner = |link, gateway| self.plane().owner(Port { node, link }, gateway);
        hops.iter().filter_map(|hop| owner(hop.link, hop.gateway)).map(|port| port.node).collect()
    }
}
