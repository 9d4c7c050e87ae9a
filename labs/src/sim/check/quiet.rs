//! Quiescence: nothing waits, nothing is stale, nothing is left over.

use crate::sim::Sim;

impl Sim {
    /// No path is stale, no kernel holds what an earlier daemon left, and no change waits for a kernel.
    ///
    /// # Errors
    /// What does.
    pub fn nothing_waits(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        for machine in self.machines() {
            let Some(daemon) = &machine.daemon else {
                continue;
            };
            let name = &machine.name;
            let left = machine.fib.leftover().iter();
            wrong.extend(left.map(|prefix| format!("{name}: {prefix} is left over from an earlier daemon")));
            for route in self.rib(self.id(name)) {
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
