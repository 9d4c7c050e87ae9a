//! A new plan beside live machines: whose addresses it would move.

use super::{Addresses, Ipam};
use crate::error::Refusal;
use crate::inventory::machine::Machine;
use serde::Serialize;
use std::net::IpAddr;

/// A machine that a new plan would give other addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    /// Which machine.
    pub serial: String,
    /// What it has, management controller last.
    pub before: Vec<IpAddr>,
    /// What it would have.
    pub after: Vec<IpAddr>,
}

/// What a new plan would do to these machines. A plan that only adds (a pool for further racks, a family, room in racks) moves nobody.
///
/// # Errors
/// When a machine has no place in the new plan.
pub fn moves<'m>(new: &Ipam, machines: impl Iterator<Item = &'m Machine>) -> Result<Vec<Move>, Refusal> {
    let mut found = Vec::new();
    for machine in machines {
        let place = super::Place::of(&machine.role);
        if !new.indices(place).contains(&machine.index) {
            let message = format!("{} has index {} of rack {}", machine.serial, machine.index, machine.rack);
            let rule = "a plan keeps room for the machines that are there: let them retire first";
            return Err(Refusal::conflict("max_nodes_in_rack", message, rule));
        }
        let after = new.addresses(machine.rack, machine.index)?;
        let (before, after) = (all(&addresses_of(machine)), all(&after));
        // Addresses that come in addition move nobody.
        if !before.iter().all(|address| after.contains(address)) {
            found.push(Move { serial: machine.serial.clone(), before, after });
        }
    }
    Ok(found)
}

/// The addresses in a machine's record.
pub(crate) fn addresses_of(machine: &Machine) -> Addresses {
    Addresses {
        ipv4: machine.ipv4.clone(),
        ipv6: machine.ipv6.clone(),
        bmc_ipv4: machine.bmc.ipv4,
        bmc_ipv6: machine.bmc.ipv6,
    }
}

/// In one list, the management controller's last.
pub(crate) fn all(addresses: &Addresses) -> Vec<IpAddr> {
    let four = addresses.ipv4.iter().chain(&addresses.bmc_ipv4).map(|address| IpAddr::V4(*address));
    let six = addresses.ipv6.iter().chain(&addresses.bmc_ipv6).map(|address| IpAddr::V6(*address));
    four.chain(six).collect()
}
