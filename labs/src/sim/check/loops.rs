//! No forwarding loop.

use crate::sim::Sim;
use std::collections::BTreeSet;
use std::net::IpAddr;

impl Sim {
    /// No destination is in a circle, as seen from anywhere.
    ///
    /// # Errors
    /// The circles.
    pub fn no_loops(&self) -> Result<(), String> {
        self.no_loops_to(self.watch.targets())
    }

    /// None of these destinations is in a circle, as seen from anywhere.
    ///
    /// # Errors
    /// The circles.
    pub fn no_loops_to(&self, targets: &BTreeSet<IpAddr>) -> Result<(), String> {
        let circles = targets.iter().flat_map(|target| {
            let found = self.plane().loops(*target);
            found.into_iter().map(|circle| format!("{target}: {}", circle.show(self.machines()))).collect::<Vec<_>>()
        });
        super::none(circles.collect())
    }
}
