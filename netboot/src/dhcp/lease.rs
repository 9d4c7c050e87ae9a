//! Addresses that are lent, of either family: what the store holds of them, and the copy of a server, which follows the store.
//!
//! ```text
//! leases/10.69.1.47        {client, mac, state, until, server}     nobody else gets the address before `until`
//! leases6/fd00:69::47      the same
//! ```
//!
//! That no address is of two clients is the work of compare-and-swap on its lease.

use crate::store::{Compare, Entry, Revision, Transaction, Write};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// How everything of DHCP in the store begins, and nothing else does.
pub const WATCHED: &str = "lease";

/// An address of a family.
pub trait Address: Copy + Ord + Display + FromStr {
    /// Where leases of this family are.
    const LEASES: &'static str;
}

impl Address for Ipv4Addr {
    const LEASES: &'static str = "leases/";
}

impl Address for Ipv6Addr {
    const LEASES: &'static str = "leases6/";
}

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

/// Some seconds later.
pub(in crate::dhcp) fn later(now: Timestamp, seconds: u32) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(i64::from(seconds))).unwrap_or(Timestamp::MAX)
}

/// The key of the lease of an address.
pub(in crate::dhcp) fn key<A: Address>(address: A) -> String {
    format!("{}{address}", A::LEASES)
}

/// The copy of a server.
#[derive(Clone, Debug)]
pub(in crate::dhcp) struct Leases<A> {
    leases: BTreeMap<A, (Lease, Revision)>,
    of_client: BTreeMap<String, BTreeSet<A>>,
    /// Entries that could not be read: of a newer version, or damaged. Their addresses are given to nobody.
    damaged: BTreeSet<A>,
}

impl<A> Default for Leases<A> {
    fn default() -> Self {
        Self { leases: BTreeMap::new(), of_client: BTreeMap::new(), damaged: BTreeSet::new() }
    }
}

impl<A: Address> Leases<A> {
    /// Forgets everything, and takes what the store holds.
    pub(in crate::dhcp) fn replace(&mut self, entries: &[Entry]) {
        *self = Self::default();
        for entry in entries {
            self.hear(&entry.key, Some(&entry.value), entry.modified);
        }
    }

    /// Takes what the store says of one key; older news than what is known are passed over, and what is no lease of this family.
    pub(in crate::dhcp) fn hear(&mut self, key: &str, value: Option<&[u8]>, modified: Revision) {
        let Some(address) = key.strip_prefix(A::LEASES).and_then(|name| name.parse().ok()) else { return };
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
    }

    fn forget(&mut self, address: A) {
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
    pub(in crate::dhcp) fn lease(&self, address: A) -> Option<&Lease> {
        self.leases.get(&address).map(|(lease, _)| lease)
    }

    /// The address that a client has or had among those that are lent in a network, the one that it has first.
    pub(in crate::dhcp) fn of_client(
        &self,
        client: &str,
        is_lent: impl Fn(A) -> bool,
        now: Timestamp,
    ) -> Option<(A, &Lease)> {
        let own = self.of_client.get(client)?.iter().filter(|address| is_lent(**address));
        let own = own.filter_map(|address| Some((*address, self.lease(*address)?)));
        let own = own.filter(|(_, lease)| lease.state != Held::Declined);
        own.max_by_key(|(_, lease)| (lease.state == Held::Bound && lease.until > now, lease.until))
    }

    /// Whether nobody has it.
    pub(in crate::dhcp) fn is_free(&self, address: A, now: Timestamp) -> bool {
        !self.damaged.contains(&address) && self.lease(address).is_none_or(|lease| lease.until <= now)
    }

    /// Leases by state: those that are lent now, and those that rest.
    pub(in crate::dhcp) fn count(&self, now: Timestamp) -> (usize, usize) {
        let now_held = self.leases.values().filter(|(lease, _)| lease.until > now);
        let declined = now_held.clone().filter(|(lease, _)| lease.state == Held::Declined).count();
        (now_held.count() - declined, declined)
    }

    /// Some leases that were over at a time, with the revisions of their entries.
    pub(in crate::dhcp) fn older(&self, than: Timestamp, most: usize) -> Vec<(String, Revision)> {
        let old = self.leases.iter().filter(|(_, (lease, _))| lease.until < than);
        old.take(most).map(|(address, (_, modified))| (key(*address), *modified)).collect()
    }

    /// A lease as it is to be, if nobody changed it meanwhile.
    pub(in crate::dhcp) fn set(&self, address: A, lease: &Lease) -> Transaction {
        let modified = self.leases.get(&address).map(|(_, modified)| *modified);
        swap(key(address), modified, lease)
    }
}

/// One write of one key, if it is as it was.
pub(in crate::dhcp) fn swap<T: Serialize>(key: String, modified: Option<Revision>, value: &T) -> Transaction {
    // Our own types have no maps with keys that JSON lacks: this never fails.
    let value = serde_json::to_vec(value).unwrap_or_default();
    let write = Write { key: key.clone(), value: Some(value.into()) };
    Transaction { compares: vec![Compare { key, modified }], writes: vec![write] }
}
