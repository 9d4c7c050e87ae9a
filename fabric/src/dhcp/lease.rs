//! What was lent on which port, as the relay heard it acknowledged (RFC 2131 §3.1). An address is one machine's: whoever was told of it last.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use weft_bgp::time::{Duration, Instant};

/// Leases of a port: a machine with its management, firmware and some guests.
pub const PORT_MAX: usize = 64;
/// Leases of all ports: all addresses of a network of 4,096.
pub const ALL_MAX: usize = 4_096;
/// The longest lease that is believed; `u32::MAX` seconds mean for ever (RFC 2131 §3.3).
const TIME_MAX: Duration = Duration::from_secs(366 * 86_400);

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What is lent.
    pub address: Ipv4Addr,
    /// To whom.
    pub mac: [u8; 6],
    /// On which port.
    pub port: String,
    /// Until when.
    pub until: Instant,
}

impl Lease {
    /// The machine as people write it: `52:54:00:69:01:01`.
    #[must_use]
    pub fn client(&self) -> String {
        self.mac.map(|octet| format!("{octet:02x}")).join(":")
    }
}

/// A lease as it is kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// What is lent.
    pub address: Ipv4Addr,
    /// To whom.
    pub mac: [u8; 6],
    /// On which port.
    pub port: String,
    /// Until when, seconds since 1970-01-01 UTC.
    pub until_s: u64,
}

/// There is no room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_address: BTreeMap<Ipv4Addr, Lease>,
    ends: BTreeSet<(Instant, Ipv4Addr)>,
}

impl Leases {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.by_address.values()
    }

    pub(super) fn get(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.by_address.get(&address)
    }

    /// Lent, lent for longer, or lent to somebody else.
    pub(super) fn put(&mut self, now: Instant, lease: Lease) -> Result<(), Full> {
        let others = self.iter().filter(|other| other.port == lease.port && other.address != lease.address).count();
        let is_new = !self.by_address.contains_key(&lease.address);
        if others >= PORT_MAX || is_new && self.by_address.len() >= ALL_MAX {
            return Err(Full);
        }
        self.remove(lease.address);
        let until = lease.until.min(now + TIME_MAX);
        self.ends.insert((until, lease.address));
        self.by_address.insert(lease.address, Lease { until, ..lease });
        Ok(())
    }

    pub(super) fn remove(&mut self, address: Ipv4Addr) -> Option<Lease> {
        let lease = self.by_address.remove(&address)?;
        self.ends.remove(&(lease.until, address));
        Some(lease)
    }

    /// When the next one ends.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// Forgets those that are over; whether there were any.
    pub(super) fn end(&mut self, now: Instant) -> bool {
        let before = self.by_address.len();
        while let Some(&(_, address)) = self.ends.first().filter(|(until, _)| *until <= now) {
            self.remove(address);
        }
        self.by_address.len() != before
    }

    /// Forgets those outside of a network; whether there were any.
    pub(super) fn keep_within(&mut self, network: Ipv4Net) -> bool {
        let outside: Vec<_> = self.by_address.keys().filter(|address| !network.contains(*address)).copied().collect();
        outside.iter().for_each(|address| drop(self.remove(*address)));
        !outside.is_empty()
    }
}
