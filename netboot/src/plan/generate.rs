//! Configurations of `weft daemon` from plan and inventory. A switch accepts from the port or address of a machine exactly what that
//! machine owns: its own addresses, what its role may announce, and what it may beside that. Everything else is refused and counted.
//!
//! While the address plan is changed a machine owns its addresses of both plans, until it has confirmed, and its BGP identifier stays that
//! of before: no session ends by the change.
//!
//! A retired machine owns nothing; a machine in any other state owns what it has, because a route that is refused makes it unreachable.

use super::{AsPlan, Plan, Range, Switch};
use crate::error::Refusal;
use crate::inventory::machine::Machine;
use crate::inventory::state::State;
use crate::ipam::{Addresses, Addressing, Place};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Sessions that machines may open with a switch: a usual rack, and as many more as the plan has room for.
const SESSIONS: u32 = 64;

/// What a configuration holds; its `Display` is the YAML that `weft daemon` reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// First line, for who reads it.
    pub(super) comment: String,
    pub(super) role: &'static str,
    pub(super) hostname: Option<String>,
    pub(super) asn: u32,
    /// Where it is not the first of the addresses.
    pub(super) router_id: Option<Ipv4Addr>,
    pub(super) addresses: Vec<IpNet>,
    pub(super) uplinks: Vec<String>,
    pub(super) peers: BTreeMap<String, PeerLine>,
    pub(super) servers: Option<Servers>,
    pub(super) sets: BTreeMap<String, Vec<Range>>,
    pub(super) rules: Vec<RuleLine>,
    pub(super) unreachable: Vec<IpNet>,
}

/// A peer of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeerLine {
    pub(super) place: PeerPlace,
    pub(super) asn: u32,
    /// A machine: its routes go through the plan.
    pub(super) max_prefixes: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PeerPlace {
    Address(IpAddr),
    Interface(String),
}

/// Machines that dial from the switch's own network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Servers {
    pub(super) networks: Vec<IpNet>,
    pub(super) asn: u32,
    pub(super) max_prefixes: u32,
    pub(super) limit: u32,
}

/// One rule of the policy `plan`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RuleLine {
    /// The fabric's own communities from below are a lie.
    RefuseMarks(u32),
    /// A machine, by peer, and the set of what it owns; marked with these large communities.
    Accept { peer: String, set: String, marks: Vec<String> },
}

/// The configuration of a switch or machine.
///
/// # Errors
/// When there is neither under this name, or the plan does not go with the inventory.
pub fn generate<'m, 'a>(
    name: &str,
    plan: &Plan,
    ipam: impl Into<Addressing<'a>>,
    mut machines: impl Iterator<Item = &'m Machine>,
) -> Result<Document, Refusal> {
    let ipam = ipam.into();
    if let Some(switch) = plan.switches.get(name) {
        return switch_document(name, switch, plan, ipam, machines);
    }
    let found = machines.find(|machine| machine.serial == name || machine.name == name);
    let machine = found.ok_or_else(|| Refusal::not_found("switch or machine", name))?;
    host_document(machine, plan, ipam)
}

fn host_document(machine: &Machine, plan: &Plan, ipam: Addressing<'_>) -> Result<Document, Refusal> {
    let mut peers = BTreeMap::new();
    let asn = plan.asn.machine(machine.rack, machine.index)?;
    let of_rack = plan.switches.iter().filter(|(_, switch)| switch.rack == machine.rack);
    if let AsPlan::PerRack { .. } = plan.asn {
        for (name, switch) in of_rack {
            host_peers(&mut peers, (name, switch), machine, ipam, asn);
        }
        if peers.is_empty() {
            let message = format!("rack {} has no switch", machine.rack);
            return Err(Refusal::conflict(
                "switches",
                message,
                "add the switches of the rack to the plan of the fabric",
            ));
        }
    }
    let uplinks = match plan.asn {
        AsPlan::PerRack { .. } => Vec::new(),
        AsPlan::PerHost { .. } if plan.uplinks.is_empty() => {
            let rule = "name the interfaces of machines towards their switches";
            return Err(Refusal::conflict("uplinks", "machines have no uplinks", rule));
        }
        AsPlan::PerHost { .. } => plan.uplinks.clone(),
    };
    let role = match Place::of(&machine.role) {
        Place::Boot => "boot",
        Place::Node => "host",
    };
    let addresses: Vec<IpAddr> = own(machine, ipam).collect();
    Ok(Document {
        comment: format!("{}: {} of rack {}, index {}", machine.serial, machine.role, machine.rack, machine.index),
        role,
        hostname: Some(machine.name.clone()),
        asn,
        router_id: ipam
            .router_id(machine)
            .filter(|id| addresses.iter().find(|one| one.is_ipv4()) != Some(&IpAddr::V4(*id))),
        addresses: addresses.into_iter().map(IpNet::from).collect(),
        uplinks,
        peers,
        servers: None,
        sets: BTreeMap::new(),
        rules: Vec::new(),
        unreachable: Vec::new(),
    })
}

/// The sessions of a machine with a switch of its rack. With two plans, those of the one to which it goes are `-next`: where they are not
/// up yet, the others are.
fn host_peers(
    peers: &mut BTreeMap<String, PeerLine>,
    (name, switch): (&String, &Switch),
    machine: &Machine,
    ipam: Addressing<'_>,
    asn: u32,
) {
    for (turn, plan) in ipam.plans_of(machine).enumerate() {
        let families = [true, false].map(|ipv4| plan.network(machine.rack, switch.network, ipv4));
        let both = families.iter().flatten().count() == 2;
        for network in families.into_iter().flatten() {
            let place = PeerPlace::Address(network.gateway);
            if peers.values().any(|line| line.place == place) {
                continue;
            }
            let suffix = if both && network.address.is_ipv6() { "-v6" } else { "" };
            let next = if turn > 0 { "-next" } else { "" };
            peers.insert(format!("{name}{suffix}{next}"), PeerLine { place, asn, max_prefixes: None });
        }
    }
}

fn switch_document<'m>(
    name: &str,
    switch: &Switch,
    plan: &Plan,
    ipam: Addressing<'_>,
    machines: impl Iterator<Item = &'m Machine>,
) -> Result<Document, Refusal> {
    let here = machines.filter(|machine| machine.rack == switch.rack && machine.state.name != State::Retired);
    let by_serial: BTreeMap<&str, &Machine> = here.map(|machine| (machine.serial.as_str(), machine)).collect();
    let mut document = Document {
        comment: format!("{name}: switch {} of rack {}", switch.network, switch.rack),
        role: "tor",
        hostname: None,
        asn: switch.asn.map_or_else(|| plan.asn.machine(switch.rack, 0), Ok)?,
        router_id: None,
        addresses: switch.addresses.clone(),
        uplinks: Vec::new(),
        peers: switch.uplinks.iter().map(|(name, uplink)| (name.clone(), uplink_line(uplink))).collect(),
        servers: None,
        sets: BTreeMap::new(),
        rules: plan.mark.iter().map(|mark| RuleLine::RefuseMarks(mark.asn)).collect(),
        unreachable: Vec::new(),
    };
    document.unreachable = networks(ipam, switch.rack, 0);
    let peers = match plan.asn {
        AsPlan::PerRack { .. } => {
            let networks = networks(ipam, switch.rack, switch.network);
            let most = ipam.plans().map(|plan| plan.max_nodes_in_rack + 1).max();
            let limit = SESSIONS.max(most.unwrap_or_default());
            document.servers = Some(Servers { networks, asn: document.asn, max_prefixes: plan.max_prefixes, limit });
            numbered_peers(switch, ipam, &by_serial)?
        }
        AsPlan::PerHost { .. } => unnumbered_peers(switch, plan, &by_serial, &mut document)?,
    };
    for (peer, machine) in peers {
        document.sets.entry(machine.name.clone()).or_insert_with(|| owned(machine, plan, ipam));
        document.rules.push(RuleLine::Accept { peer, set: machine.name.clone(), marks: marks(machine, plan) });
    }
    Ok(document)
}

/// A network of a rack, of each family and in each plan.
fn networks(ipam: Addressing<'_>, rack: u32, network: u32) -> Vec<IpNet> {
    let mut found: Vec<IpNet> = Vec::new();
    for plan in ipam.plans() {
        let places = [true, false].into_iter().filter_map(|ipv4| plan.network(rack, network, ipv4));
        for net in places.filter_map(|place| IpNet::new(place.address, place.mask).ok()) {
            if !found.contains(&net) {
                found.push(net);
            }
        }
    }
    found
}

fn uplink_line(uplink: &super::Uplink) -> PeerLine {
    let place = match (&uplink.interface, uplink.address) {
        (Some(interface), _) => PeerPlace::Interface(interface.clone()),
        (None, Some(address)) => PeerPlace::Address(address),
        // `Plan::check` takes no such uplink.
        (None, None) => PeerPlace::Interface(String::new()),
    };
    PeerLine { place, asn: uplink.asn, max_prefixes: None }
}

/// Machines by the addresses from which they dial this switch.
fn numbered_peers<'m>(
    switch: &Switch,
    ipam: Addressing<'_>,
    machines: &BTreeMap<&str, &'m Machine>,
) -> Result<Vec<(String, &'m Machine)>, Refusal> {
    let network = usize::try_from(switch.network).unwrap_or(usize::MAX);
    let mut peers = Vec::new();
    for machine in machines.values() {
        let mut own: Vec<String> = Vec::new();
        for addresses in ipam.of(machine) {
            let four = addresses.ipv4.get(network).map(ToString::to_string);
            let six = addresses.ipv6.get(network).map(ToString::to_string);
            own.extend(four.into_iter().chain(six));
        }
        if own.is_empty() {
            let message = format!("{} has no address in network {}", machine.serial, switch.network);
            let rule = "a switch has one of the networks of the address plan (`node_networks`)";
            return Err(Refusal::conflict("network", message, rule));
        }
        for (at, address) in own.iter().enumerate() {
            if !own[..at].contains(address) {
                peers.push((address.clone(), *machine));
            }
        }
    }
    peers.sort_by_key(|(_, machine)| machine.index);
    Ok(peers)
}

/// Machines by the interfaces on which they are; each is a peer of its own.
fn unnumbered_peers<'m>(
    switch: &Switch,
    plan: &Plan,
    machines: &BTreeMap<&str, &'m Machine>,
    document: &mut Document,
) -> Result<Vec<(String, &'m Machine)>, Refusal> {
    let mut peers = Vec::new();
    for (port, serial) in &switch.ports {
        // A cable to a machine that is not registered yet, or retired: nothing is believed from there.
        let Some(machine) = machines.get(serial.as_str()) else {
            continue;
        };
        let line = PeerLine {
            place: PeerPlace::Interface(port.clone()),
            asn: plan.asn.machine(machine.rack, machine.index)?,
            max_prefixes: Some(plan.max_prefixes),
        };
        if document.peers.insert(machine.name.clone(), line).is_some() {
            let message = format!("`{}` is the name of a spine too", machine.name);
            return Err(Refusal::conflict("uplinks", message, "machines and spines have different names"));
        }
        peers.push((machine.name.clone(), *machine));
    }
    peers.sort_by_key(|(_, machine)| machine.index);
    Ok(peers)
}

/// Its own addresses, of each family one, by one plan or two.
fn own(machine: &Machine, ipam: Addressing<'_>) -> impl Iterator<Item = IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for address in ipam.of(machine).iter().flat_map(Addresses::own) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found.into_iter()
}

/// What a machine may announce.
fn owned(machine: &Machine, plan: &Plan, ipam: Addressing<'_>) -> Vec<Range> {
    let own = own(machine, ipam).map(|address| Range::exactly(IpNet::from(address)));
    let by_role = plan.announce.get(&machine.role).into_iter().flatten().copied();
    own.chain(by_role).chain(machine.announces.iter().copied()).collect()
}

fn marks(machine: &Machine, plan: &Plan) -> Vec<String> {
    let Some(mark) = &plan.mark else {
        return Vec::new();
    };
    let role = mark.roles.get(&machine.role).map(|role| format!("{}:1:{role}", mark.asn));
    role.into_iter().chain([format!("{}:2:{}", mark.asn, machine.rack)]).collect()
}
