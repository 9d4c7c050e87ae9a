//! Kernel = RIB: every kernel holds exactly what its daemon's RIB says.

use crate::sim::Sim;
use crate::sim::network::NodeId;
use std::collections::BTreeSet;

impl Sim {
    /// Of these nodes, every kernel holds what its daemon wants, and nothing else.
    ///
    /// # Errors
    /// What differs.
    pub fn kernel_is_rib(&self, nodes: &BTreeSet<NodeId>) -> Result<(), String> {
        let mut wrong = Vec::new();
        for &id in nodes.iter().filter(|node| self.machine(**node).daemon.is_some()) {
            let name = &self.machine(id).name;
            let mut known = BTreeSet::new();
            for route in self.rib(id) {
                known.insert(route.prefix);
                let hops = self.hops(id, &route.prefix);
                let held = hops.as_deref().unwrap_or_default();
                if held != route.hops {
                    let prefix = route.prefix;
                    wrong.push(format!("{name}: {prefix}: the RIB says {:?}, the kernel {held:?}", route.hops));
                }
            }
            for prefix in self.forwarded(id).filter(|prefix| !known.contains(prefix)) {
                wrong.push(format!("{name}: {prefix} is in the kernel and not in the RIB"));
            }
        }
        super::none(wrong)
    }
}
