//! Another address plan under live machines. Each keeps the addresses that it has, and gets those of the new plan beside them, until it
//! has confirmed that it runs with these, or was initialised anew. So that no address is of two machines at any moment, an address that
//! both plans know must mean the same in both: then it is of one place, and a place is of one machine.
//!
//! ```text
//!   begin ──▶ every machine: old and new ── confirm, one by one ──▶ new alone ── all ──▶ finish: the new plan is the plan
//!                       ▲                                               │
//!                       └────────── abort: the same the other way ──────┘        all back ──▶ finish: the old plan stays
//! ```

use super::{Addresses, Ipam, Meaning, Place, addresses_of, all};
use crate::error::{Kind, Refusal};
use crate::inventory::machine::Machine;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// A change of the address plan that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Migration {
    /// The plan before.
    pub from: Ipam,
    /// The plan after.
    pub to: Ipam,
    /// Whether it was aborted: machines go back to the plan before.
    pub back: bool,
    /// When it began.
    pub since: Timestamp,
    /// Who began it.
    pub by: String,
}

/// What changes for one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Step {
    /// Which machine.
    pub serial: String,
    /// Its name.
    pub name: String,
    /// Its rack.
    pub rack: u32,
    /// Its AS, which stays: it follows from rack and index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// What it has, management controller last.
    pub before: Vec<IpAddr>,
    /// What it gets.
    pub after: Vec<IpAddr>,
}

impl Migration {
    /// Where machines come from: the plan whose addresses they keep.
    #[must_use]
    pub const fn origin(&self) -> &Ipam {
        if self.back { &self.to } else { &self.from }
    }

    /// Where machines go.
    #[must_use]
    pub const fn target(&self) -> &Ipam {
        if self.back { &self.from } else { &self.to }
    }

    /// The addresses that a machine gets; `None` when it has them, and them alone.
    #[must_use]
    pub fn beside(&self, machine: &Machine) -> Option<Addresses> {
        let target = self.target().addresses(machine.rack, machine.index).ok()?;
        (target != addresses_of(machine)).then_some(target)
    }
}

/// Whether the machine at a place can go from one plan to the other, and back.
///
/// # Errors
/// When it has no place in one of the plans, or an address of it means something else in the other.
pub fn passes(from: &Ipam, to: &Ipam, machine: &Machine) -> Result<(), Refusal> {
    for plan in [from, to] {
        let places = plan.indices(Place::of(&machine.role));
        if !places.contains(&machine.index) {
            let message = format!("{} has index {} of rack {}", machine.serial, machine.index, machine.rack);
            let rule = format!("{} to {} in both plans for the role {}", places.start(), places.end(), machine.role);
            return Err(Refusal::conflict("max_nodes_in_rack", message, rule));
        }
    }
    for (own, other, word) in [(from, to, "new"), (to, from, "old")] {
        let addresses = own.addresses(machine.rack, machine.index)?;
        for address in all(&addresses) {
            let known =
                |plan: &Ipam| plan.meaning(address).filter(|meaning| !matches!(meaning, Meaning::Unused { .. }));
            if known(other).is_some_and(|meaning| Some(meaning) != known(own)) {
                let message = format!("{address} of {} is something else in the {word} plan", machine.serial);
                let rule =
                    "an address that both plans know must mean the same in both: choose prefixes that do not overlap";
                return Err(Refusal::conflict("node", message, rule));
            }
        }
    }
    Ok(())
}

impl Step {
    /// Of a machine that gets these addresses.
    #[must_use]
    pub fn of(machine: &Machine, asn: Option<u32>, after: &Addresses) -> Self {
        Self {
            serial: machine.serial.clone(),
            name: machine.name.clone(),
            rack: machine.rack,
            asn,
            before: all(&addresses_of(machine)),
            after: all(after),
        }
    }
}

/// The plan by which configurations are made: one, or during a migration two.
#[derive(Clone, Copy, Debug)]
pub struct Addressing<'a> {
    ipam: &'a Ipam,
    migration: Option<&'a Migration>,
}

impl<'a> From<&'a Ipam> for Addressing<'a> {
    fn from(ipam: &'a Ipam) -> Self {
        Self { ipam, migration: None }
    }
}

impl<'a> Addressing<'a> {
    /// Of a plan, and of the migration if one is under way.
    #[must_use]
    pub const fn new(ipam: &'a Ipam, migration: Option<&'a Migration>) -> Self {
        Self { ipam, migration }
    }

    /// All plans that count now.
    pub fn plans(self) -> impl Iterator<Item = &'a Ipam> {
        let first = self.migration.map_or(self.ipam, Migration::origin);
        [first].into_iter().chain(self.migration.map(Migration::target))
    }

    /// Those by which a machine has addresses.
    pub fn plans_of(self, machine: &Machine) -> impl Iterator<Item = &'a Ipam> {
        let through = self.migration.is_some_and(|migration| migration.beside(machine).is_none());
        self.plans().skip(usize::from(through))
    }

    /// The address by which a machine is known in BGP while the plan is changed: that of the plan before, whichever way it goes. Another
    /// identifier would end each of its sessions.
    #[must_use]
    pub fn router_id(self, machine: &Machine) -> Option<Ipv4Addr> {
        self.migration?.from.addresses(machine.rack, machine.index).ok()?.ipv4.first().copied()
    }

    /// All addresses of a machine, by plan.
    #[must_use]
    pub fn of(self, machine: &Machine) -> Vec<Addresses> {
        let beside = self.migration.and_then(|migration| migration.beside(machine));
        [addresses_of(machine)].into_iter().chain(beside).collect()
    }
}

impl Addresses {
    /// The node's own, of each family one.
    pub fn own(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let four = self.ipv4.first().map(|address| IpAddr::V4(*address));
        four.into_iter().chain(self.ipv6.first().map(|address| IpAddr::V6(*address)))
    }
}

/// A migration that is needed and not there.
#[must_use]
pub fn missing() -> Refusal {
    let rule = "begin one: `weft-netboot ipam migrate FILE`";
    Refusal::invalid("", "no change of the address plan is under way", rule).of(Kind::Conflict)
}
