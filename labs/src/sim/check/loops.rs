//! No forwarding loop.

use crate::sim::Sim;

impl Sim {
    /// No destination is in a circle, as seen from anywhere.
    ///
    /// # Errors
    /// The circles.
    pub fn no_loops(&self) -> Result<(), String> {
        let circles = self.watch.targets().iter().flat_map(|target| {
            let found = self.plane().loops(*target);
            found.into_iter().map(|circle| format!("{target}: {}", circle.show(self.machines()))).collect::<Vec<_>>()
        });
        super::none(circles.collect())
    }
}
