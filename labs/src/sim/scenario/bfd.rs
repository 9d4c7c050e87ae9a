//! BFD in a scenario: which sessions of a network have it beside those of its files, and how fast.

use super::World;
use serde::{Deserialize, Serialize};
use weft_bgp::peer::Endpoint;
use weft_fabric::bfd::Timers;
use weft_fabric::config::BfdConfig;

/// Packets that may be missed.
const MULTIPLIER: u8 = 3;

/// See the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bfd {
    /// How often both ends send, milliseconds, 10 to 60,000; three may be missed.
    pub interval_ms: u32,
    /// Unnumbered peers have it on every so manieth cable, from the first on; peers at addresses and in ranges all have it.
    #[serde(default = "one")]
    pub every: usize,
}

const fn one() -> usize {
    1
}

impl Bfd {
    /// What a daemon runs on.
    ///
    /// # Errors
    /// When a daemon would refuse it.
    fn config(self) -> Result<BfdConfig, String> {
        if !(10..=60_000).contains(&self.interval_ms) {
            return Err(format!("bfd: interval_ms is {}: write 10 to 60000", self.interval_ms));
        }
        if self.every == 0 {
            return Err("bfd: every is 0: write 1 for every cable, 2 for every second one".to_owned());
        }
        let us = self.interval_ms * 1_000;
        let timers = Timers { transmit_us: us, receive_us: us, multiplier: MULTIPLIER };
        Ok(BfdConfig { timers, graceful: false, strict: false })
    }
}

impl World {
    /// Gives BFD to sessions that have none.
    ///
    /// # Errors
    /// When a daemon would refuse it.
    pub fn set_bfd(&mut self, bfd: Bfd) -> Result<(), String> {
        let config = bfd.config()?;
        for own in self.configs.values_mut() {
            let at_addresses = own.peers.iter().filter(|peer| matches!(peer.endpoint, Endpoint::Address(_)));
            for peer in at_addresses {
                own.bfd.peers.entry(peer.name.clone()).or_insert(config);
            }
            for range in &own.dynamic {
                own.bfd.ranges.entry(range.prefix).or_insert(config);
            }
        }
        for end in self.topology.links.iter().step_by(bfd.every).flat_map(|link| [&link.a, &link.b]) {
            let Some(own) = self.configs.get_mut(&end.node) else {
                continue;
            };
            let is_here = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Interface(name) if *name == end.interface);
            if let Some(peer) = own.peers.iter().find(|peer| is_here(&peer.endpoint)) {
                own.bfd.peers.entry(peer.name.clone()).or_insert(config);
            }
        }
        Ok(())
    }
}
