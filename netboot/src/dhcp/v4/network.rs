//! The network that a question came from, by the address plan: which addresses may be given there, and what goes with them.

use crate::inventory::Inventory;
use crate::inventory::machine::Machine;
use crate::inventory::state::State;
use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr};

/// A network of a rack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The rack.
    pub rack: u32,
    /// Which of the rack's networks.
    pub network: u32,
    /// All of its addresses; the first one is its name.
    pub part: Ipv4Net,
    /// Length of the prefix that a machine configures.
    pub mask: u8,
    /// Its router.
    pub gateway: Ipv4Addr,
    /// First and last address for machines that nobody registered.
    pub leases: Option<(Ipv4Addr, Ipv4Addr)>,
}

impl Network {
    /// The network of a relay (`giaddr`), of a link that it names, of an interface, or of a client that has an address: that of the switch
    /// with this address in the plan of the fabric, else that which the address plan says, or either one while it is changed. The
    /// switches come first: their addresses may lie where racks are numbered that nobody built.
    #[must_use]
    pub fn of(inventory: &Inventory, address: Ipv4Addr) -> Option<Self> {
        let mut plans = inventory.addressing()?.plans();
        plans.find_map(|plan| {
            let asked = IpAddr::V4(address);
            let (rack, network) = inventory.switch_at(asked).or_else(|| plan.network_of(asked))?;
            let interface = plan.network(rack, network, true)?;
            let (IpAddr::V4(base), IpAddr::V4(gateway)) = (interface.address, interface.gateway) else { return None };
            let leases = plan.lease_range(rack, network, true).and_then(|range| match (range.first, range.last) {
                (IpAddr::V4(first), IpAddr::V4(last)) => Some((first, last)),
                (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
            });
            let part = Ipv4Net::new(base, interface.mask).ok()?;
            let mask = plan.interface(interface.address)?.mask;
            Some(Self { rack, network, part, mask, gateway, leases })
        })
    }

    /// Whether an address may be lent here.
    #[must_use]
    pub fn lends(&self, address: Ipv4Addr) -> bool {
        self.leases.is_some_and(|(first, last)| (first..=last).contains(&address))
    }

    /// The address that a registered machine has here by formula. One that is retired owns none.
    #[must_use]
    pub fn formula(&self, inventory: &Inventory, machine: &Machine) -> Option<Ipv4Addr> {
        if machine.state.name == State::Retired {
            return None;
        }
        let all = inventory.addressing()?.of(machine);
        all.iter().flat_map(|addresses| &addresses.ipv4).copied().find(|address| self.part.contains(address))
    }
}
