//! Which server may offer which block of a network, as the store has it. Each server has a copy that follows the store.
//!
//! ```text
//! lease-blocks/10.69.1.32  [{server, until}, null, …]              blocks of the range that begins there
//! ```
//!
//! Blocks only keep two servers from offering the same address; that no address is of two clients is the work of compare-and-swap on
//! its lease.

use super::network::Network;
use crate::dhcp::lease::{later, swap};
use crate::store::{Entry, Revision, Transaction};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Where blocks are.
pub const BLOCKS: &str = "lease-blocks/";
/// Addresses of a block: a rack of 28 machines has 31 for newcomers, so four servers get one.
pub const BLOCK: u32 = 8;
const BLOCK_STEP: usize = 8;
/// Seconds for which a block is claimed; a server that uses it claims it again when half is over.
const CLAIMED_S: u32 = 3_600;

/// A block of addresses that one server may offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Which server.
    pub server: String,
    /// Until then.
    pub until: Timestamp,
}

/// Blocks of a range, in the order of their addresses.
pub type Claims = Vec<Option<Claim>>;

/// The copy of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks(BTreeMap<Ipv4Addr, (Claims, Revision)>);

impl Blocks {
    /// Forgets everything, and takes what the store holds.
    pub(super) fn replace(&mut self, entries: &[Entry]) {
        self.0.clear();
        for entry in entries {
            self.hear(&entry.key, Some(&entry.value), entry.modified);
        }
    }

    /// Takes what the store says of one key; older news than what is known are passed over, and what is no block.
    pub(super) fn hear(&mut self, key: &str, value: Option<&[u8]>, modified: Revision) {
        let Some(first) = key.strip_prefix(BLOCKS).and_then(|name| name.parse().ok()) else { return };
        if self.0.get(&first).is_some_and(|(_, known)| *known > modified) {
            return;
        }
        match value.and_then(|value| serde_json::from_slice::<Claims>(value).ok()) {
            Some(claims) => drop(self.0.insert(first, (claims, modified))),
            // One that cannot be read is written anew: leases are what counts.
            None if value.is_some() => drop(self.0.insert(first, (Vec::new(), modified))),
            None => drop(self.0.remove(&first)),
        }
    }

    /// Addresses of a network that a server may offer, in their order.
    pub(super) fn own(&self, network: &Network, server: &str, now: Timestamp) -> impl Iterator<Item = Ipv4Addr> {
        let (first, last) = network.leases.map_or((1, 0), |(first, last)| (u32::from(first), u32::from(last)));
        let claims = self.0.get(&Ipv4Addr::from(first)).map(|(claims, _)| claims.as_slice()).unwrap_or_default();
        let blocks = (first..=last).step_by(BLOCK_STEP).zip(claims);
        let own = blocks.filter(move |(_, claim)| claim.as_ref().is_some_and(|claim| claim.is_of(server, now)));
        own.flat_map(move |(start, _)| start..=last.min(start.saturating_add(BLOCK - 1))).map(Ipv4Addr::from)
    }

    /// One more block for a server, or those that it has for longer; `None` when there is nothing to claim.
    pub(super) fn claim(&self, network: &Network, server: &str, now: Timestamp, more: bool) -> Option<Transaction> {
        let (first, last) = network.leases?;
        let count = usize::try_from((u32::from(last) - u32::from(first)).div_euclid(BLOCK) + 1).unwrap_or(0);
        let known = self.0.get(&first);
        let mut claims = known.map(|(claims, _)| claims.clone()).unwrap_or_default();
        claims.resize(count, None);
        let until = later(now, CLAIMED_S);
        let claim = Claim { server: server.to_owned(), until };
        for own in claims.iter_mut().flatten().filter(|own| own.is_of(server, now)) {
            own.until = until;
        }
        if more {
            let free = claims.iter_mut().find(|other| other.as_ref().is_none_or(|other| other.until <= now))?;
            *free = Some(claim);
        }
        Some(swap(format!("{BLOCKS}{first}"), known.map(|(_, modified)| *modified), &claims))
    }

    /// Whether what a server has of a network is more than half over.
    pub(super) fn is_aging(&self, network: &Network, server: &str, now: Timestamp) -> bool {
        let Some((claims, _)) = network.leases.and_then(|(first, _)| self.0.get(&first)) else { return false };
        let soon = later(now, CLAIMED_S / 2);
        claims.iter().flatten().any(|claim| claim.is_of(server, now) && claim.until < soon)
    }
}

impl Claim {
    fn is_of(&self, server: &str, now: Timestamp) -> bool {
        self.server == server && self.until > now
    }
}
