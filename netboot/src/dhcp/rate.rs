//! How much of one network is answered: a rack that runs wild, or somebody who sends in its name, takes nothing from the others.

use super::v4::rules::Rate;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Networks remembered: those of the address plan alone come here, and the one that was quiet for longest makes room.
const NETWORKS_MAX: usize = 16_384;

/// A bucket for each network.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    rate: Rate,
    networks: BTreeMap<IpAddr, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Thousandths of a question.
    left: u64,
    at: Timestamp,
}

impl Rates {
    pub(super) const fn new(rate: Rate) -> Self {
        Self { rate, networks: BTreeMap::new() }
    }

    /// Whether one more question of a network is answered now.
    pub(super) fn take(&mut self, now: Timestamp, network: IpAddr) -> bool {
        let most = u64::from(self.rate.burst) * 1_000;
        if self.networks.len() >= NETWORKS_MAX && !self.networks.contains_key(&network) {
            let quiet = self.networks.iter().min_by_key(|(_, bucket)| bucket.at).map(|(network, _)| *network);
            quiet.map(|network| self.networks.remove(&network));
        }
        let bucket = self.networks.entry(network).or_insert(Bucket { left: most, at: now });
        // A clock that was set back gives nothing.
        let millis = u64::try_from(now.duration_since(bucket.at).as_millis()).unwrap_or(0);
        bucket.left = most.min(bucket.left.saturating_add(millis.saturating_mul(u64::from(self.rate.each_s))));
        bucket.at = now;
        match bucket.left.checked_sub(1_000) {
            Some(left) => {
                bucket.left = left;
                true
            }
            None => false,
        }
    }
}
