//! No black hole: whoever has a route to somebody's address gets packets there, over every branch.

use crate::sim::Sim;
use crate::sim::network::NodeId;
use crate::sim::walk::Fate;
use std::collections::BTreeSet;

impl Sim {
    /// At these nodes, every kernel route to a single address leads to a machine that has it.
    ///
    /// # Errors
    /// Those that do not.
    pub fn no_black_hole(&self, nodes: &BTreeSet<NodeId>) -> Result<(), String> {
        let mut wrong = Vec::new();
        for &node in nodes {
            let machine = self.machine(node);
            if machine.daemon.is_none() || !machine.powered {
                continue;
            }
            for prefix in self.forwarded(node).filter(|prefix| prefix.prefix_len() == prefix.max_prefix_len()) {
                // A route without a live member is no route: a shorter one counts.
                if self.hops(node, &prefix).is_none_or(|hops| hops.is_empty()) {
                    continue;
                }
                let fates = self.plane().fates(node, prefix.addr());
                let lost = fates.iter().filter(|fate| !matches!(fate, Fate::Reached(_)));
                wrong.extend(lost.map(|fate| format!("{}: {prefix}: {}", machine.name, fate.show(self.machines()))));
            }
        }
        super::none(wrong)
    }
}
