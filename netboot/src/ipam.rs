//! Addresses by formula: from rack, network and index follows every address of a machine, so that a plan of a few lines is all there
//! is to know, and a boot server needs no table to answer.
//!
//! ```text
//! node address of network i = prefix + offset + 2^range_bits × (node_networks × (rack − first_rack) + i) + index
//! BMC address               = prefix + offset + 2^range_bits × (rack − first_rack) + index
//! ```
//!
//! This is Sabakan's formula, for both families, and with several prefixes, each for the racks from `first_rack` to `last_rack`.

mod change;
mod check;
mod migration;

pub use change::{Move, moves};
pub(crate) use change::{addresses_of, all};
pub use migration::{Addressing, Migration, Step, missing, passes};

use crate::error::Refusal;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks of a rack: one for the node's own addresses and one for each switch.
pub const NETWORKS_MAX: u32 = 8;
/// Machines of a rack that the plan can hold.
pub const RACK_MAX: u32 = 4_096;
/// Pools of one kind: a prefix is added when the last one is full, not often.
pub const POOLS_MAX: usize = 64;
/// Highest rack number: all of them fit in a list.
pub const RACK_NUMBER_MAX: u32 = 65_535;

/// The address plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ipam {
    /// Most machines of a rack beside its boot server.
    pub max_nodes_in_rack: u32,
    /// Index of the boot server; the others follow.
    pub node_index_offset: u32,
    /// Networks, and so addresses, of each machine.
    pub node_networks: u32,
    /// Where nodes have their addresses.
    pub node: Vec<Pool>,
    /// Where management controllers have theirs.
    #[serde(default)]
    pub bmc: Vec<Pool>,
}

/// A prefix of which each rack gets a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// The prefix.
    #[schemars(with = "String")]
    pub prefix: IpNet,
    /// Added to every address; of the same family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<IpAddr>,
    /// Each part has 2 to the power of this many addresses.
    pub range_bits: u8,
    /// Length of the prefix that a machine configures with its address.
    pub mask: u8,
    /// The router's place in that prefix.
    #[serde(default)]
    pub gateway_offset: u32,
    /// The first rack with a part.
    #[serde(default)]
    pub first_rack: u32,
    /// The last one; as many as fit unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rack: Option<u32>,
}

/// Who gets an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The boot server of the rack, of which there is one.
    Boot,
    /// Any other machine.
    Node,
}

impl Place {
    /// The place that goes with a role.
    #[must_use]
    pub fn of(role: &str) -> Self {
        if role == "boot" { Self::Boot } else { Self::Node }
    }
}

/// The addresses of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// By network.
    pub ipv4: Vec<Ipv4Addr>,
    /// By network.
    pub ipv6: Vec<Ipv6Addr>,
    /// Of its management controller.
    pub bmc_ipv4: Option<Ipv4Addr>,
    /// Of its management controller.
    pub bmc_ipv6: Option<Ipv6Addr>,
}

/// An address as a machine configures it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// The address.
    pub address: IpAddr,
    /// Length of its prefix.
    pub mask: u8,
    /// Its router.
    pub gateway: IpAddr,
}

/// A range of addresses for machines that boot, as DHCP gives them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseRange {
    /// The first.
    pub first: IpAddr,
    /// The last.
    pub last: IpAddr,
    /// Length of their prefix.
    pub mask: u8,
    /// Their router.
    pub gateway: IpAddr,
}

/// What an address is in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Meaning {
    /// An address of the machine with this place, whether there is one or not.
    Node {
        /// Its rack.
        rack: u32,
        /// Which of its networks.
        network: u32,
        /// Its index.
        index: u32,
    },
    /// The router of a network of a rack.
    Gateway {
        /// The rack.
        rack: u32,
        /// The network.
        network: u32,
    },
    /// For machines that boot.
    Lease {
        /// The rack.
        rack: u32,
        /// The network.
        network: u32,
    },
    /// A management controller.
    Bmc {
        /// Its machine's rack.
        rack: u32,
        /// Its machine's index.
        index: u32,
    },
    /// In a part of a rack, but nobody's.
    Unused {
        /// The rack.
        rack: u32,
    },
}

impl Ipam {
    /// Indices for a place, lowest first.
    pub fn indices(&self, place: Place) -> std::ops::RangeInclusive<u32> {
        let boot = self.node_index_offset;
        match place {
            Place::Boot => boot..=boot,
            Place::Node => boot + 1..=boot + self.max_nodes_in_rack,
        }
    }

    /// All addresses of the machine with this place.
    ///
    /// # Errors
    /// When no pool has a part for the rack.
    pub fn addresses(&self, rack: u32, index: u32) -> Result<Addresses, Refusal> {
        let mut found = Addresses::default();
        for pool in self.node.iter().filter(|pool| pool.covers(rack, self.node_networks)) {
            for network in 0..self.node_networks {
                let part = self.node_networks * (rack - pool.first_rack) + network;
                match pool.address(part, index) {
                    IpAddr::V4(address) => found.ipv4.push(address),
                    IpAddr::V6(address) => found.ipv6.push(address),
                }
            }
        }
        if found.ipv4.is_empty() && found.ipv6.is_empty() {
            let message = format!("no pool of nodes has a part for rack {rack}");
            let rule = "choose another rack, or add a pool to the address plan that begins with this one";
            return Err(Refusal::conflict("rack", message, rule));
        }
        for pool in self.bmc.iter().filter(|pool| pool.covers(rack, 1)) {
            match pool.address(rack - pool.first_rack, index) {
                IpAddr::V4(address) => found.bmc_ipv4 = Some(address),
                IpAddr::V6(address) => found.bmc_ipv6 = Some(address),
            }
        }
        Ok(found)
    }

    /// An address of a node or BMC with its prefix and router; `None` when no pool has it.
    #[must_use]
    pub fn interface(&self, address: IpAddr) -> Option<Interface> {
        let pool = self.node.iter().chain(&self.bmc).find(|pool| pool.prefix.contains(&address))?;
        Some(Interface { address, mask: pool.mask, gateway: pool.gateway(address) })
    }

    /// The network of a rack, as its switch has it: prefix of the part, and the router's address.
    #[must_use]
    pub fn network(&self, rack: u32, network: u32, ipv4: bool) -> Option<Interface> {
        let pool = self.pool(rack, ipv4)?;
        let base = pool.address(self.node_networks * (rack - pool.first_rack) + network, 0);
        Some(Interface { address: base, mask: pool.part_length(), gateway: pool.gateway(base) })
    }

    /// The addresses that a rack's network has for machines that boot: what is left above the indices, without the last one.
    #[must_use]
    pub fn lease_range(&self, rack: u32, network: u32, ipv4: bool) -> Option<LeaseRange> {
        let pool = self.pool(rack, ipv4)?;
        let part = self.node_networks * (rack - pool.first_rack) + network;
        let (first, last) = self.lease_offsets(pool)?;
        let first_address = pool.address(part, first);
        Some(LeaseRange {
            first: first_address,
            last: pool.address(part, last),
            mask: pool.mask,
            gateway: pool.gateway(first_address),
        })
    }

    /// The range for a relay agent (RFC 2131 §4.1, `giaddr`) or an interface with this address.
    #[must_use]
    pub fn lease_range_of(&self, relay: IpAddr) -> Option<LeaseRange> {
        let (pool, part) = self.node.iter().find_map(|pool| Some((pool, pool.part_of(relay)?)))?;
        let (rack, network) = (pool.first_rack + part / self.node_networks, part % self.node_networks);
        pool.covers(rack, self.node_networks).then(|| self.lease_range(rack, network, relay.is_ipv4()))?
    }

    /// The rack in whose networks an address of a machine is, whatever it is there.
    #[must_use]
    pub fn rack_of(&self, address: IpAddr) -> Option<u32> {
        self.network_of(address).map(|(rack, _)| rack)
    }

    /// The rack and which of its networks an address is in, whatever it is there.
    #[must_use]
    pub fn network_of(&self, address: IpAddr) -> Option<(u32, u32)> {
        let (pool, part) = self.node.iter().find_map(|pool| Some((pool, pool.part_of(address)?)))?;
        let rack = pool.first_rack.checked_add(part / self.node_networks)?;
        pool.covers(rack, self.node_networks).then_some((rack, part % self.node_networks))
    }

    /// What an address is; `None` when the plan does not know it.
    #[must_use]
    pub fn meaning(&self, address: IpAddr) -> Option<Meaning> {
        let nodes = self.node_index_offset..=self.node_index_offset + self.max_nodes_in_rack;
        for pool in &self.node {
            let Some(part) = pool.part_of(address) else {
                continue;
            };
            let (rack, network) = (pool.first_rack + part / self.node_networks, part % self.node_networks);
            if !pool.covers(rack, self.node_networks) {
                continue;
            }
            let index = u32::try_from(pool.value(address) - pool.value(pool.address(part, 0))).unwrap_or(u32::MAX);
            let (first, last) = self.lease_offsets(pool).unwrap_or((1, 0));
            return Some(if nodes.contains(&index) {
                Meaning::Node { rack, network, index }
            } else if pool.gateway(address) == address {
                Meaning::Gateway { rack, network }
            } else if (first..=last).contains(&index) {
                Meaning::Lease { rack, network }
            } else {
                Meaning::Unused { rack }
            });
        }
        for pool in &self.bmc {
            let Some(part) = pool.part_of(address) else {
                continue;
            };
            let rack = pool.first_rack + part;
            let index = u32::try_from(pool.value(address) - pool.value(pool.address(part, 0))).unwrap_or(u32::MAX);
            if pool.covers(rack, 1) && nodes.contains(&index) {
                return Some(Meaning::Bmc { rack, index });
            }
        }
        None
    }

    fn pool(&self, rack: u32, ipv4: bool) -> Option<&Pool> {
        self.node.iter().find(|pool| pool.is_ipv4() == ipv4 && pool.covers(rack, self.node_networks))
    }

    /// First and last place of the leases in a part. The very last address of a part is left alone: in IPv4 it is the broadcast address.
    fn lease_offsets(&self, pool: &Pool) -> Option<(u32, u32)> {
        let first = self.node_index_offset + self.max_nodes_in_rack + 1;
        // An IPv6 part has more addresses than anybody counts: as many leases as the rack has machines are enough.
        let last = if pool.range_bits >= 16 { first + RACK_MAX } else { (1_u32 << pool.range_bits) - 2 };
        (first <= last).then_some((first, last))
    }
}

impl Pool {
    /// Whether it is of IPv4.
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        matches!(self.prefix, IpNet::V4(_))
    }

    const fn bits(&self) -> u8 {
        if self.is_ipv4() { 32 } else { 128 }
    }

    /// Length of the prefix of one part.
    #[must_use]
    pub const fn part_length(&self) -> u8 {
        self.bits() - self.range_bits
    }

    /// Whether it has a part for a rack with so many networks.
    #[must_use]
    pub fn covers(&self, rack: u32, networks: u32) -> bool {
        let last = self.last_rack.unwrap_or(RACK_NUMBER_MAX);
        (self.first_rack..=last).contains(&rack) && {
            let part = u128::from(networks) * u128::from(rack - self.first_rack) + u128::from(networks) - 1;
            self.end_of(part).is_some_and(|end| end <= self.last_value())
        }
    }

    /// The last address of a part, as a number; `None` beyond the family's last one.
    fn end_of(&self, part: u128) -> Option<u128> {
        let size = 1_u128.checked_shl(u32::from(self.range_bits))?;
        let start = part.checked_mul(size)?.checked_add(self.start())?;
        start.checked_add(size - 1)
    }

    fn last_value(&self) -> u128 {
        self.value(match self.prefix {
            IpNet::V4(net) => IpAddr::V4(net.broadcast()),
            IpNet::V6(net) => IpAddr::V6(net.broadcast()),
        })
    }

    /// Where the first part begins.
    fn start(&self) -> u128 {
        let offset = self.offset.map_or(0, |offset| self.value(offset));
        self.value(self.prefix.network()).saturating_add(offset)
    }

    /// The address with this place in a part that the pool has ([`Self::covers`]).
    fn address(&self, part: u32, index: u32) -> IpAddr {
        let value = self.start() + (u128::from(part) << self.range_bits) + u128::from(index);
        if self.is_ipv4() {
            // Checked by `covers`: within the prefix, so within 32 bits.
            IpAddr::V4(Ipv4Addr::from(u32::try_from(value).unwrap_or(u32::MAX)))
        } else {
            IpAddr::V6(Ipv6Addr::from(value))
        }
    }

    /// The part that an address is in, if it is in one.
    fn part_of(&self, address: IpAddr) -> Option<u32> {
        if address.is_ipv4() != self.is_ipv4() || !self.prefix.contains(&address) {
            return None;
        }
        u32::try_from(self.value(address).checked_sub(self.start())? >> self.range_bits).ok()
    }

    /// The router of the prefix that a machine configures with this address.
    fn gateway(&self, address: IpAddr) -> IpAddr {
        let offset = self.gateway_offset;
        match address {
            IpAddr::V4(address) => {
                let base = Ipv4Net::new(address, self.mask).map_or(address, |net| net.network());
                IpAddr::V4(Ipv4Addr::from(u32::from(base).saturating_add(offset)))
            }
            IpAddr::V6(address) => {
                let base = Ipv6Net::new(address, self.mask).map_or(address, |net| net.network());
                IpAddr::V6(Ipv6Addr::from(u128::from(base).saturating_add(u128::from(offset))))
            }
        }
    }

    #[expect(clippy::unused_self, reason = "an address is a number in the order of its family, which is the pool's")]
    fn value(&self, address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
