//! What was lent on which port, as the relay heard it acknowledged (RFC 2131 §3.1, RFC 8415 §18.3). An address is one machine's: whoever was told of it last.

use super::Dropped;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use weft_bgp::time::{Duration, Instant};

/// Leases of a port in each family: a machine with its management, firmware and some guests.
pub const PORT_MAX: usize = 64;
/// Leases of all ports in each family: all addresses of a network of 4,096.
pub const ALL_MAX: usize = 4_096;
/// The longest lease that is believed; `u32::MAX` seconds mean for ever (RFC 2131 §3.3, RFC 8415 §7.7).
const TIME_MAX: Duration = Duration::from_secs(366 * 86_400);

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What is lent.
    pub address: IpAddr,
    /// To whom.
    pub holder: Holder,
    /// On which port.
    pub port: String,
    /// Until when.
    pub until: Instant,
}

/// Who has a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Holder {
    /// A network card, by DHCPv4.
    Mac([u8; 6]),
    /// A DUID in hexadecimal digits, by DHCPv6 (RFC 8415 §11).
    Duid(String),
}

impl Holder {
    /// The network card as people write it, `52:54:00:69:01:01`; that which a DUID was made of, if it was (RFC 8415 §11.2, §11.4).
    #[must_use]
    pub fn mac(&self) -> Option<String> {
        match self {
            Self::Mac(mac) => Some(mac.map(|octet| format!("{octet:02x}")).join(":")),
            Self::Duid(duid) => {
                // Link-layer address, Ethernet; with four octets of time between the type and the address.
                let digits = duid.strip_prefix("00030001").or_else(|| duid.strip_prefix("00010001")?.get(8..))?;
                let pairs: Vec<&str> = (0..6).filter_map(|at| digits.get(2 * at..2 * at + 2)).collect();
                (digits.len() == 12 && pairs.len() == 6).then(|| pairs.join(":"))
            }
        }
    }
}

/// The network card, else the DUID.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.mac(), self) {
            (Some(mac), _) => f.write_str(&mac),
            (None, Self::Duid(duid)) => write!(f, "DUID {duid}"),
            (None, Self::Mac(_)) => Ok(()),
        }
    }
}

/// A lease as it is kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// What is lent.
    pub address: IpAddr,
    /// To whom.
    #[serde(alias = "mac")]
    pub holder: Holder,
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
    by_address: BTreeMap<IpAddr, Lease>,
    ends: BTreeSet<(Instant, IpAddr)>,
}

impl Leases {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.by_address.values()
    }

    pub(super) fn get(&self, address: IpAddr) -> Option<&Lease> {
        self.by_address.get(&address)
    }

    /// Lent, lent for longer, or lent to somebody else.
    pub(super) fn put(&mut self, now: Instant, lease: Lease) -> Result<(), Full> {
        let family = || self.iter().filter(|other| other.address.is_ipv4() == lease.address.is_ipv4());
        let others = family().filter(|other| other.port == lease.port && other.address != lease.address).count();
        let is_new = !self.by_address.contains_key(&lease.address);
        if others >= PORT_MAX || is_new && family().count() >= ALL_MAX {
            return Err(Full);
        }
        self.remove(lease.address);
        let until = lease.until.min(now + TIME_MAX);
        self.ends.insert((until, lease.address));
        self.by_address.insert(lease.address, Lease { until, ..lease });
        Ok(())
    }

    /// What a server lends at once; whether one of them is new or moved. Those before one for which there is no room are lent.
    pub(super) fn lend(
        &mut self,
        now: Instant,
        all: Vec<Lease>,
        is_lendable: impl Fn(IpAddr) -> bool,
    ) -> Result<bool, Dropped> {
        if !all.iter().all(|lease| is_lendable(lease.address)) {
            return Err(Dropped::Outside);
        }
        let mut is_changed = false;
        for lease in all {
            let before = self.get(lease.address);
            is_changed |= before.is_none_or(|before| before.holder != lease.holder || before.port != lease.port);
            self.put(now, lease).map_err(|Full| Dropped::Full)?;
        }
        Ok(is_changed)
    }

    pub(super) fn remove(&mut self, address: IpAddr) -> Option<Lease> {
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

    /// Forgets those that are none any more; whether there were any.
    pub(super) fn keep(&mut self, is_one: impl Fn(IpAddr) -> bool) -> bool {
        let outside: Vec<_> = self.by_address.keys().filter(|address| !is_one(**address)).copied().collect();
        outside.iter().for_each(|address| drop(self.remove(*address)));
        !outside.is_empty()
    }
}
