//! The fabric around the machines: AS numbers, switches, and what each role may announce. With the inventory it says everything that
//! the configuration of a switch or host holds.

mod generate;
mod preview;
mod range;
mod write;

pub use generate::{Document, generate};
pub use preview::{Conflict, Preview, STEPS_MAX, SwitchChange, preview};
pub use range::Range;

use crate::error::Refusal;
use crate::inventory::machine::word;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Switches of a fabric: two for each rack that can be numbered, and more.
pub const SWITCHES_MAX: usize = 8_192;
/// Ports, and sessions upwards, of one switch.
pub const PORTS_MAX: usize = 1_024;
/// Roles that machines can have.
pub const ROLES_MAX: usize = 256;

/// The plan of the fabric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Who has which AS.
    pub asn: AsPlan,
    /// Top-of-rack switches by name.
    #[serde(default)]
    pub switches: BTreeMap<String, Switch>,
    /// Interfaces of a machine towards its switches, in an unnumbered fabric.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uplinks: Vec<String>,
    /// What machines may announce beside their own addresses, by role.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub announce: BTreeMap<String, Vec<Range>>,
    /// Most prefixes of one machine.
    #[serde(default = "default_max_prefixes")]
    pub max_prefixes: u32,
    /// The large communities with which switches say whose a route is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
}

const fn default_max_prefixes() -> u32 {
    200
}

/// Who has which AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum AsPlan {
    /// Switches and machines of a rack share `base + rack`; machines dial the switches, which reflect.
    PerRack {
        /// The AS of rack 0.
        base: u32,
    },
    /// Every machine has its own, `base + per_rack × rack + index`; links have no addresses.
    PerHost {
        /// The AS of a machine with index 0 in rack 0.
        base: u32,
        /// From one rack to the next.
        per_rack: u32,
    },
}

/// A top-of-rack switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Its rack.
    pub rack: u32,
    /// Which of the rack's networks is its own, from 1: network 0 is the nodes'.
    pub network: u32,
    /// Its AS, where every machine has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// On its `lo`.
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<IpNet>,
    /// Sessions upwards, by name of the peer.
    #[serde(default)]
    pub uplinks: BTreeMap<String, Uplink>,
    /// Which machine (by serial number) is on which interface; needed where links have no addresses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, String>,
}

/// A session of a switch with a spine: by address, or on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// The spine's AS.
    pub asn: u32,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Our interface, when the link has no addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// `asn:1:ROLE` and `asn:2:RACK` on every route of a machine. The same from a machine is a lie, and its route is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The fabric's own AS.
    pub asn: u32,
    /// Numbers of roles; a role without one is not marked.
    #[serde(default)]
    pub roles: BTreeMap<String, u32>,
}

impl AsPlan {
    /// The AS of a machine.
    ///
    /// # Errors
    /// When the number does not fit.
    pub fn machine(self, rack: u32, index: u32) -> Result<u32, Refusal> {
        let number = match self {
            Self::PerRack { base } => u64::from(base) + u64::from(rack),
            Self::PerHost { base, per_rack } => {
                u64::from(base) + u64::from(per_rack) * u64::from(rack) + u64::from(index)
            }
        };
        u32::try_from(number).ok().filter(|number| private(*number)).ok_or_else(|| {
            let message = format!("AS {number} for index {index} of rack {rack}");
            Refusal::invalid(
                "asn",
                message,
                "AS numbers of a plant are private (RFC 6996): 64512 to 65534, or 4200000000 to 4294967294",
            )
        })
    }
}

/// RFC 6996 §5.
fn private(asn: u32) -> bool {
    (64_512..=65_534).contains(&asn) || (4_200_000_000..=4_294_967_294).contains(&asn)
}

impl Plan {
    /// Looks at everything that can be wrong without the inventory.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn check(&self) -> Result<(), Refusal> {
        at_most("switches", self.switches.len(), SWITCHES_MAX)?;
        at_most("uplinks", self.uplinks.len(), PORTS_MAX)?;
        at_most("announce", self.announce.len(), ROLES_MAX)?;
        if self.max_prefixes == 0 {
            return Err(Refusal::invalid("max_prefixes", "0 refuses every machine", "at least 1"));
        }
        let first = self.asn.machine(0, 0);
        first.map_err(|refusal| refusal.within("asn"))?;
        if let AsPlan::PerHost { per_rack: 0, .. } = self.asn {
            return Err(Refusal::invalid(
                "asn.per_host.per_rack",
                "0 gives racks the same numbers",
                "at least the highest index",
            ));
        }
        for interface in &self.uplinks {
            interface_name("uplinks", interface)?;
        }
        for role in self.announce.keys() {
            word("announce", role)?;
            at_most(&format!("announce.{role}"), self.announce[role].len(), PORTS_MAX)?;
        }
        for role in self.mark.iter().flat_map(|mark| mark.roles.keys()) {
            word("mark.roles", role)?;
        }
        let mut taken: BTreeMap<(u32, u32), &str> = BTreeMap::new();
        for (name, switch) in &self.switches {
            word("switches", name)?;
            self.check_switch(switch).map_err(|refusal| refusal.within(&format!("switches.{name}")))?;
            if let Some(other) = taken.insert((switch.rack, switch.network), name) {
                let message = format!("{other} has network {} of rack {} too", switch.network, switch.rack);
                let rule = "each switch of a rack has a network of its own";
                return Err(Refusal::conflict(format!("switches.{name}.network"), message, rule));
            }
        }
        Ok(())
    }

    fn check_switch(&self, switch: &Switch) -> Result<(), Refusal> {
        if switch.network == 0 {
            return Err(Refusal::invalid(
                "network",
                "network 0 is the nodes' own",
                "1 for the first switch of a rack, 2 for the second",
            ));
        }
        if !switch.addresses.iter().any(|net| net.addr().is_ipv4()) {
            let rule = "its first IPv4 address is its BGP identifier";
            return Err(Refusal::invalid("addresses", "has no IPv4 address", rule));
        }
        at_most("uplinks", switch.uplinks.len(), PORTS_MAX)?;
        at_most("ports", switch.ports.len(), PORTS_MAX)?;
        match (self.asn, switch.asn) {
            (AsPlan::PerHost { .. }, None) => {
                let rule = "with an AS for each machine, every switch needs one too";
                return Err(Refusal::invalid("asn", "is missing", rule));
            }
            (AsPlan::PerRack { .. }, Some(asn)) => {
                let rule = "leave it out: with an AS for each rack it is that of the rack";
                return Err(Refusal::invalid("asn", format!("is {asn}"), rule));
            }
            (AsPlan::PerHost { .. }, Some(_)) | (AsPlan::PerRack { .. }, None) => {}
        }
        for (name, uplink) in &switch.uplinks {
            word("uplinks", name)?;
            if uplink.address.is_some() == uplink.interface.is_some() {
                let rule = "give either `address` or `interface`";
                return Err(Refusal::invalid(format!("uplinks.{name}"), "where the spine is, is not said once", rule));
            }
            if let Some(interface) = &uplink.interface {
                interface_name(&format!("uplinks.{name}.interface"), interface)?;
            }
        }
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (port, serial) in &switch.ports {
            interface_name("ports", port)?;
            word(&format!("ports.{port}"), serial)?;
            if let Some(other) = seen.insert(serial, port) {
                let message = format!("{serial} is on {other} too");
                return Err(Refusal::conflict(
                    format!("ports.{port}"),
                    message,
                    "a machine has one link to each switch",
                ));
            }
        }
        Ok(())
    }
}

fn at_most(field: &str, count: usize, most: usize) -> Result<(), Refusal> {
    if count <= most {
        return Ok(());
    }
    let refusal = Refusal::invalid(field, format!("has {count} entries"), format!("at most {most}"));
    Err(refusal.of(crate::error::Kind::TooMuch))
}

/// What Linux takes for a name of an interface (15 characters, no blank, no `/`), without what YAML would read as something else.
fn interface_name(field: &str, said: &str) -> Result<(), Refusal> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if (1..=15).contains(&said.len()) && said.chars().all(inner) && said.starts_with(|c: char| c.is_ascii_alphabetic())
    {
        return Ok(());
    }
    let rule = "a letter, then up to 14 letters, digits, `_`, `.` and `-`";
    Err(Refusal::invalid(field, format!("`{}` is no interface", said.escape_debug()), rule))
}

#[cfg(test)]
pub(crate) mod tests;
