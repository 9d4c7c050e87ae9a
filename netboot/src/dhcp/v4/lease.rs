//! What the store holds of DHCP: leases by address, and which server may offer which block of a network. Each server has a copy that
//! follows the store.
//!
//! ```text
//! leases/10.69.1.47        {client, mac, state, until, server}     nobody else gets the address before `until`
//! lease-blocks/10.69.1.32  [{server, until}, null, …]              blocks of the range that begins there
//! ```
//!
//! Blocks only keep two servers from offering the same address; that no address is of two clients is the work of compare-and-swap on
//! its lease.

use super::network::Network;
use crate::store::{Compare, Entry, Revision, Transaction, Write};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// How both begin, and nothing else does.
pub const WATCHED: &str = "lease";
/// Where leases are.
pub const LEASES: &str = "leases/";
/// Where blocks are.
pub const BLOCKS: &str = "lease-blocks/";
/// Addresses of a block: a rack of 28 machines has 31 for newcomers, so four servers get one.
pub const BLOCK: u32 = 8;
const BLOCK_STEP: usize = 8;
/// Seconds for which a block is claimed; a server that uses it claims it again when half is over.
const CLAIMED_S: u32 = 3_600;

/// An address that is lent, was, or must rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lease {
    /// To whom: see `Client::name`.
    pub client: String,
    /// The hardware address of that client.
    pub mac: String,
    /// What it is.
    pub state: Held,
    /// Nobody else gets it before. It is always later than what the client was told, so that renewals need not wait for the store.
    pub until: Timestamp,
    /// The server that said so.
    pub server: String,
    /// Since when it is of this client.
    pub since: Timestamp,
}

/// What a lease is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Held {
    /// Lent.
    Bound,
    /// Given back; the same client gets it again if it is still free.
    Released,
    /// A client found it in use: it rests.
    Declined,
}

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

/// Some seconds later.
pub(super) fn later(now: Timestamp, seconds: u32) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(i64::from(seconds))).unwrap_or(Timestamp::MAX)
}

/// The copy of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    leases: BTreeMap<Ipv4Addr, (Lease, Revision)>,
    of_client: BTreeMap<String, BTreeSet<Ipv4Addr>>,
    claims: BTreeMap<Ipv4Addr, (Claims, Revision)>,
    /// Entries that could not be read: of a newer version, or damaged. Their addresses are given to nobody.
    damaged: BTreeSet<Ipv4Addr>,
}

impl Table {
    /// Forgets everything, and takes what the store holds.
    pub(super) fn replace(&mut self, entries: &[Entry]) {
        *self = Self::default();
        for entry in entries {
            self.hear(&entry.key, Some(&entry.value), entry.modified);
        }
    }

    /// Takes what the store says of one key; older news than what is known are passed over.
    pub(super) fn hear(&mut self, key: &str, value: Option<&[u8]>, modified: Revision) {
        if let Some(address) = key.strip_prefix(LEASES).and_then(|name| name.parse().ok()) {
            if self.leases.get(&address).is_some_and(|(_, known)| *known > modified) {
                return;
            }
            let read = value.map(serde_json::from_slice::<Lease>);
            self.forget(address);
            match read {
                Some(Ok(lease)) => {
                    self.of_client.entry(lease.client.clone()).or_default().insert(address);
                    self.leases.insert(address, (lease, modified));
                }
                Some(Err(_)) => drop(self.damaged.insert(address)),
                None => {}
            }
        } else if let Some(first) = key.strip_prefix(BLOCKS).and_then(|name| name.parse().ok()) {
            if self.claims.get(&first).is_some_and(|(_, known)| *known > modified) {
                return;
            }
            match value.and_then(|value| serde_json::from_slice::<Claims>(value).ok()) {
                Some(claims) => drop(self.claims.insert(first, (claims, modified))),
                // One that cannot be read is written anew: leases are what counts.
                None if value.is_some() => drop(self.claims.insert(first, (Vec::new(), modified))),
                None => drop(self.claims.remove(&first)),
            }
        }
    }

    fn forget(&mut self, address: Ipv4Addr) {
        self.damaged.remove(&address);
        let Some((old, _)) = self.leases.remove(&address) else { return };
        if let Some(of_client) = self.of_client.get_mut(&old.client) {
            of_client.remove(&address);
            if of_client.is_empty() {
                self.of_client.remove(&old.client);
            }
        }
    }

    /// What is known of an address.
    pub(super) fn lease(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.leases.get(&address).map(|(lease, _)| lease)
    }

    /// The address that a client has or had in a network, the one that it has first.
    pub(super) fn of_client(&self, client: &str, network: &Network, now: Timestamp) -> Option<(Ipv4Addr, &Lease)> {
        let own = self.of_client.get(client)?.iter().filter(|address| network.lends(**address));
        let own = own.filter_map(|address| Some((*address, self.lease(*address)?)));
        let own = own.filter(|(_, lease)| lease.state != Held::Declined);
        own.max_by_key(|(_, lease)| (lease.state == Held::Bound && lease.until > now, lease.until))
    }

    /// Whether nobody has it.
    pub(super) fn is_free(&self, address: Ipv4Addr, now: Timestamp) -> bool {
        !self.damaged.contains(&address) && self.lease(address).is_none_or(|lease| lease.until <= now)
    }

    /// Leases by state: those that are lent now, and those that rest.
    pub(super) fn count(&self, now: Timestamp) -> (usize, usize) {
        let now_held = self.leases.values().filter(|(lease, _)| lease.until > now);
        let declined = now_held.clone().filter(|(lease, _)| lease.state == Held::Declined).count();
        (now_held.count() - declined, declined)
    }

    /// Some leases that were over at a time, with the revisions of their entries.
    pub(super) fn older(&self, than: Timestamp, most: usize) -> Vec<(String, Revision)> {
        let old = self.leases.iter().filter(|(_, (lease, _))| lease.until < than);
        old.take(most).map(|(address, (_, modified))| (format!("{LEASES}{address}"), *modified)).collect()
    }

    /// A lease as it is to be, if nobody changed it meanwhile.
    pub(super) fn set(&self, address: Ipv4Addr, lease: &Lease) -> Transaction {
        let modified = self.leases.get(&address).map(|(_, modified)| *modified);
        swap(format!("{LEASES}{address}"), modified, lease)
    }

    /// Addresses of a network that a server may offer, in their order.
    pub(super) fn own(&self, network: &Network, server: &str, now: Timestamp) -> impl Iterator<Item = Ipv4Addr> {
        let (first, last) = network.leases.map_or((1, 0), |(first, last)| (u32::from(first), u32::from(last)));
        let claims = self.claims.get(&Ipv4Addr::from(first)).map(|(claims, _)| claims.as_slice()).unwrap_or_default();
        let blocks = (first..=last).step_by(BLOCK_STEP).zip(claims);
        let own = blocks.filter(move |(_, claim)| claim.as_ref().is_some_and(|claim| claim.is_of(server, now)));
        own.flat_map(move |(start, _)| start..=last.min(start.saturating_add(BLOCK - 1))).map(Ipv4Addr::from)
    }

    /// One more block for a server, or those that it has for longer; `None` when there is nothing to claim.
    pub(super) fn claim(&self, network: &Network, server: &str, now: Timestamp, more: bool) -> Option<Transaction> {
        let (first, last) = network.leases?;
        let count = usize::try_from((u32::from(last) - u32::from(first)).div_euclid(BLOCK) + 1).unwrap_or(0);
        let known = self.claims.get(&first);
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
        let Some((claims, _)) = network.leases.and_then(|(first, _)| self.claims.get(&first)) else { return false };
        let soon = later(now, CLAIMED_S / 2);
        claims.iter().flatten().any(|claim| claim.is_of(server, now) && claim.until < soon)
    }
}

impl Claim {
    fn is_of(&self, server: &str, now: Timestamp) -> bool {
        self.server == server && self.until > now
    }
}

/// One write of one key, if it is as it was.
fn swap<T: Serialize>(key: String, modified: Option<Revision>, value: &T) -> Transaction {
    // Our own types have no maps with keys that JSON lacks: this never fails.
    let value = serde_json::to_vec(value).unwrap_or_default();
    let write = Write { key: key.clone(), value: Some(value.into()) };
    Transaction { compares: vec![Compare { key, modified }], writes: vec![write] }
}
