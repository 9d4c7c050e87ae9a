//! A picture of a simulated network at rest: for every announced destination, what each node's kernel does with packets for it.

use super::{Link, Picture, Step};
use crate::sim::Sim;
use crate::sim::fib::Lookup;
use crate::sim::network::{NodeId, Port};
use std::collections::BTreeMap;
use std::net::IpAddr;
use weft_bgp::types::{Hop, IfIndex, IpNet};

/// Most nodes of a network whose flows are compared: their number is that of nodes times that of destinations.
pub const MAX_NODES: usize = 2_000;

impl Picture {
    /// Of a network as it is now.
    #[must_use]
    pub fn of(sim: &Sim) -> Self {
        let mut picture = Self::default();
        for (name, target) in destinations(sim) {
            let running = sim.machines().iter().enumerate().filter(|(_, machine)| machine.powered);
            let steps = running.map(|(at, machine)| (machine.name.clone(), step(sim, NodeId(at), target)));
            picture.destinations.insert(name, steps.collect());
        }
        picture
    }
}

/// All that is announced, by a name that stays when addresses are counted anew: of a node's own addresses the node and which of them it
/// is, of others the prefix.
fn destinations(sim: &Sim) -> BTreeMap<String, IpAddr> {
    let mut named = BTreeMap::new();
    let mut own = BTreeMap::new();
    for machine in sim.machines() {
        for (family, is_v4) in [("IPv4", true), ("IPv6", false)] {
            let addresses = machine.config.addresses.iter().filter(|net| net.addr().is_ipv4() == is_v4);
            for (number, net) in addresses.enumerate() {
                let number = if number == 0 { String::new() } else { format!(" {}", number + 1) };
                let name = format!("{} {family}{number}", machine.name);
                // One that several nodes have is nobody's own.
                own.entry(net.addr()).and_modify(|name: &mut Option<String>| *name = None).or_insert(Some(name));
            }
        }
    }
    for machine in sim.machines() {
        let announced = machine.config.originate.iter().map(|route| route.prefix);
        for net in announced.chain(machine.config.speaker.aggregates.iter().copied()) {
            let target = first(&net);
            named.insert(own.get(&target).cloned().flatten().unwrap_or_else(|| net.to_string()), target);
        }
    }
    named
}

/// An address of a prefix; behind a default route one that nobody in a lab has (RFC 5737, RFC 3849).
fn first(net: &IpNet) -> IpAddr {
    const OUTSIDE: [IpAddr; 2] = [
        IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1)),
        IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    ];
    if net.prefix_len() == 0 {
        return OUTSIDE[usize::from(!net.addr().is_ipv4())];
    }
    net.hosts().next().unwrap_or_else(|| net.addr())
}

fn step(sim: &Sim, node: NodeId, target: IpAddr) -> Step {
    let machine = sim.machine(node);
    let alone = |link: IfIndex| vec![Hop { link, gateway: target, weight: 1 }];
    let hops = match machine.fib.lookup(target, &machine.links) {
        Lookup::Local => return Step::Here,
        Lookup::Discard => return Step::Lost("discards".to_owned()),
        Lookup::NoRoute => return Step::Lost("has no route".to_owned()),
        Lookup::Connected(link) => alone(link),
        Lookup::Hops(hops) => hops,
    };
    let total: f64 = hops.iter().map(|hop| f64::from(hop.weight)).sum();
    let mut links = BTreeMap::new();
    for hop in hops {
        let owner = sim.plane().owner(Port { node, link: hop.link }, hop.gateway);
        let far = owner.map_or_else(|| hop.gateway.to_string(), |port| sim.machine(port.node).name.clone());
        let interface = machine.link(hop.link).map(|link| link.name.clone()).unwrap_or_default();
        let link = Link { from: machine.name.clone(), interface, to: far };
        *links.entry(link).or_insert(0.0) += f64::from(hop.weight) / total;
    }
    Step::Onward(links)
}
