//! The network that a question came from, by the address plan.

use crate::inventory::Inventory;
use crate::inventory::machine::Machine;
use crate::inventory::state::State;
use ipnet::Ipv6Net;
use std::net::{IpAddr, Ipv6Addr};

/// A network of a rack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// All of its addresses; the first one is its name.
    pub part: Ipv6Net,
    /// First and last address for machines that nobody registered.
    pub leases: Option<(Ipv6Addr, Ipv6Addr)>,
}

impl Network {
    /// The network of an address of a link: that of the switch with this address in the plan of the fabric, else that which the address
    /// plan says, or either one while it is changed.
    #[must_use]
    pub fn of(inventory: &Inventory, address: Ipv6Addr) -> Option<Self> {
        let asked = IpAddr::V6(address);
        inventory.addressing()?.plans().find_map(|plan| {
            let (rack, network) = inventory.switch_at(asked).or_else(|| plan.network_of(asked))?;
            let interface = plan.network(rack, network, false)?;
            let IpAddr::V6(base) = interface.address else { return None };
            let leases = plan.lease_range(rack, network, false).and_then(|range| match (range.first, range.last) {
                (IpAddr::V6(first), IpAddr::V6(last)) => Some((first, last)),
                (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
            });
            Some(Self { part: Ipv6Net::new(base, interface.mask).ok()?, leases })
        })
    }

    /// Whether an address may be lent here.
    #[must_use]
    pub fn lends(&self, address: Ipv6Addr) -> bool {
        self.leases.is_some_and(|(first, last)| (first..=last).contains(&address))
    }

    /// The address that a registered machine has here by formula. One that is retired owns none.
    #[must_use]
    pub fn formula(&self, inventory: &Inventory, machine: &Machine) -> Option<Ipv6Addr> {
        if machine.state.name == State::Retired {
            return None;
        }
        let all = inventory.addressing()?.of(machine);
        all.iter().flat_map(|addresses| &addresses.ipv6).copied().find(|address| self.part.contains(address))
    }
}
