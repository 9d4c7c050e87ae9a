//! Advertised(A→B) = paths(B from A): both ends of every session agree on what was said.

use crate::sim::Sim;
use crate::sim::network::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use weft_bgp::types::{IpNet, PeerId};
use weft_fabric::node::Node;

impl Sim {
    /// Between these nodes, what one end of a session says it told is what the other has of it, but for what that refused.
    ///
    /// # Errors
    /// Prefixes on which they differ.
    pub fn told_is_heard(&self, nodes: &BTreeSet<NodeId>) -> Result<(), String> {
        let mut wrong = Vec::new();
        let (mut told, mut heard) = (BTreeMap::new(), BTreeMap::new());
        for &node in nodes {
            let rib = self.rib(node);
            let peers = rib.iter().flat_map(|route| route.paths.iter().map(|path| (path.from.clone(), route.prefix)));
            heard.insert(node, by_name(peers));
            if let Some(daemon) = &self.machine(node).daemon {
                let peers = rib.iter().flat_map(|route| {
                    let known = daemon.speaker().told(&route.prefix).into_iter().filter(|told| told.reason.is_none());
                    known.map(|told| (told.neighbor, route.prefix))
                });
                told.insert(node, by_name(peers));
            }
        }
        let none = BTreeSet::new();
        for [near, far] in self.talks(nodes) {
            let (teller, hearer) = (self.machine(near.0), self.machine(far.0));
            let (Some(telling), Some(hearing)) = (&teller.daemon, &hearer.daemon) else {
                continue;
            };
            let (Some(to), Some(from)) = (name_of(telling, near.1), name_of(hearing, far.1)) else {
                continue;
            };
            let told = told.get(&near.0).and_then(|peers| peers.get(&to)).unwrap_or(&none);
            let heard = heard.get(&far.0).and_then(|peers| peers.get(&from)).unwrap_or(&none);
            let (here, there) = (&teller.name, &hearer.name);
            wrong.extend(
                heard
                    .difference(told)
                    .map(|prefix| format!("{there} has {prefix} from {here}, which does not tell it")),
            );
            // Where a policy or a rule of the RFCs refused something, only it knows what.
            let neighbors = hearing.speaker().neighbors(self.now());
            let refused = neighbors
                .iter()
                .find(|peer| peer.id == far.1)
                .is_none_or(|peer| peer.prefixes_rejected + peer.updates_rejected > 0);
            if !refused {
                wrong.extend(
                    told.difference(heard)
                        .map(|prefix| format!("{here} tells {there} of {prefix}, which has not heard it")),
                );
            }
        }
        super::none(wrong)
    }
}

fn by_name(all: impl Iterator<Item = (String, IpNet)>) -> BTreeMap<String, BTreeSet<IpNet>> {
    let mut sets: BTreeMap<String, BTreeSet<IpNet>> = BTreeMap::new();
    for (name, prefix) in all {
        sets.entry(name).or_default().insert(prefix);
    }
    sets
}

fn name_of(node: &Node, peer: PeerId) -> Option<String> {
    node.speaker().peer_name(peer).map(str::to_owned)
}
