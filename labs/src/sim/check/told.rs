//! Advertised(A→B) = paths(B from A): both ends of every session agree on what was said.

use crate::sim::Sim;
use std::collections::BTreeSet;
use weft_bgp::types::{IpNet, PeerId};
use weft_fabric::node::Node;

impl Sim {
    /// What one end of a session says it told is what the other has of it, but for what that refused.
    ///
    /// # Errors
    /// Prefixes on which they differ.
    pub fn told_is_heard(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        for [near, far] in self.talks() {
            let (teller, hearer) = (self.machine(near.0), self.machine(far.0));
            let (Some(telling), Some(hearing)) = (&teller.daemon, &hearer.daemon) else {
                continue;
            };
            let (Some(to), Some(from)) = (name_of(telling, near.1), name_of(hearing, far.1)) else {
                continue;
            };
            let is_told = |prefix: &IpNet| {
                let told = telling.speaker().told(prefix);
                told.iter().any(|told| told.neighbor == to && told.reason.is_none())
            };
            let told: BTreeSet<IpNet> = self.rib(near.0).iter().map(|route| route.prefix).filter(is_told).collect();
            let is_from = |route: &weft_bgp::speaker::RouteInfo| route.paths.iter().any(|path| path.from == from);
            let heard: BTreeSet<IpNet> =
                self.rib(far.0).iter().filter(|route| is_from(route)).map(|route| route.prefix).collect();
            let (here, there) = (&teller.name, &hearer.name);
            wrong.extend(
                heard
                    .difference(&told)
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
                    told.difference(&heard)
                        .map(|prefix| format!("{here} tells {there} of {prefix}, which has not heard it")),
                );
            }
        }
        super::none(wrong)
    }
}

fn name_of(node: &Node, peer: PeerId) -> Option<String> {
    node.speaker().peer_name(peer).map(str::to_owned)
}
