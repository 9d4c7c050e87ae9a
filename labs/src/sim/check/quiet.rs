//! Quiescence: nothing waits, nothing is stale, nothing is left over.

use crate::sim::Sim;
use crate::sim::network::NodeId;
use std::collections::BTreeSet;

impl Sim {
    /// At none of these nodes is a path stale, holds the kernel what an earlier daemon left, or waits a change for it.
    ///
    /// # Errors
    /// What does.
    pub fn nothing_waits(&self, nodes: &BTreeSet<NodeId>) -> Result<(), String> {
        let mut wrong = Vec::new();
        for &node in nodes {
            let machine = self.machine(node);
            let Some(daemon) = &machine.daemon else {
                continue;
            };
            let name = &machine.name;
            let left = machine.fib.leftover().iter();
            wrong.extend(left.map(|prefix| format!("{name}: {prefix} is left over from an earlier daemon")));
            for route in self.rib(node) {
                let stale = route.paths.iter().filter(|path| path.stale);
                wrong.extend(stale.map(|path| format!("{name}: {} is stale from {}", route.prefix, path.from)));
            }
            let waiting = daemon.speaker().summary().fib_changes_waiting;
            if waiting > 0 {
                wrong.push(format!("{name}: {waiting} changes wait for the kernel"));
            }
        }
        super::none(wrong)
    }
}
