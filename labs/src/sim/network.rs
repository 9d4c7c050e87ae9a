//! What the nodes hang on: cables, bridges inside nodes, and who can hear whom at this moment. Knows no protocol.

use crate::topology::{Bridge, Endpoint, NodeSpec, Topology, link_local};
use std::collections::{BTreeMap, BTreeSet};
use weft_bgp::rng::Rng;
use weft_bgp::time::Duration;
use weft_bgp::types::{IfIndex, IpNet, Ipv6Net};
use weft_fabric::link::{AddrInfo, LinkInfo};

/// A node, by its place in the topology's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// A cable, by its place in the topology's `links`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CableId(pub usize);

/// An interface of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The node.
    pub node: NodeId,
    /// Its interface.
    pub link: IfIndex,
}

/// The loopback interface has this index in every node, as in Linux.
pub const LOOPBACK: IfIndex = IfIndex(1);

/// A cable between two ports.
#[derive(Clone, Debug)]
struct Cable {
    ends: [Port; 2],
    latency: Duration,
    /// Both ends see light.
    carrier: bool,
    /// It looks well and swallows every packet.
    deaf: bool,
}

/// Cables, bridges, power, and what follows from them: the layer-3 ports that share a segment.
#[derive(Clone, Debug)]
pub struct Network {
    cables: Vec<Cable>,
    plugs: BTreeMap<Port, CableId>,
    members: BTreeMap<Port, Vec<Port>>,
    masters: BTreeMap<Port, Port>,
    powered: Vec<bool>,
    /// Cables by node.
    by_node: Vec<Vec<CableId>>,
    /// By node and interface.
    reach: Vec<Vec<Heard>>,
}

/// Who hears what is sent from a port, and how long it takes.
type Heard = Vec<(Port, Duration)>;

impl Network {
    /// The cables and bridges of a topology, and the interfaces of each node as its kernel shows them at the start.
    #[must_use]
    pub fn new(topology: &Topology, latency_us: (u64, u64), rng: &mut Rng) -> (Self, Vec<Vec<LinkInfo>>) {
        let mut network = Self {
            cables: Vec::new(),
            plugs: BTreeMap::new(),
            members: BTreeMap::new(),
            masters: BTreeMap::new(),
            powered: vec![true; topology.nodes.len()],
            by_node: vec![Vec::new(); topology.nodes.len()],
            reach: Vec::new(),
        };
        let mut pictures: Vec<Vec<LinkInfo>> = Vec::new();
        let mut ends: BTreeMap<&str, Vec<&Endpoint>> = BTreeMap::new();
        for end in topology
            .links
            .iter()
            .flat_map(|link| [&link.a, &link.b])
            .chain(topology.devices.iter().map(|device| &device.end))
        {
            ends.entry(&end.node).or_default().push(end);
        }
        let mut index: BTreeMap<(&str, &str), Port> = BTreeMap::new();
        for (at, spec) in topology.nodes.values().enumerate() {
            let ends = ends.get(spec.name.as_str()).map_or(&[][..], Vec::as_slice);
            let links = interfaces(ends, spec);
            for link in &links {
                let port = Port { node: NodeId(at), link: link.index };
                if let Some(master) = link.master {
                    let master = Port { node: NodeId(at), link: master };
                    network.masters.insert(port, master);
                    network.members.entry(master).or_default().push(port);
                }
            }
            for (number, end) in ends.iter().enumerate() {
                index.insert((&spec.name, &end.interface), Port { node: NodeId(at), link: cable_index(number) });
            }
            pictures.push(links);
        }
        for (at, link) in topology.links.iter().enumerate() {
            let end = |end: &Endpoint| index.get(&(end.node.as_str(), end.interface.as_str())).copied();
            if let (Some(a), Some(b)) = (end(&link.a), end(&link.b)) {
                let (least, most) = latency_us;
                let latency = Duration::from_micros(least + rng.next_u64() % (most - least + 1));
                network.cables.push(Cable { ends: [a, b], latency, carrier: true, deaf: false });
                for port in [a, b] {
                    network.plugs.insert(port, CableId(at));
                    network.by_node[port.node.0].push(CableId(at));
                }
            }
        }
        let count = |links: &Vec<LinkInfo>| links.iter().map(|link| place(link.index) + 1).max().unwrap_or_default();
        network.reach = pictures.iter().map(|links| vec![Vec::new(); count(links)]).collect();
        let all: BTreeSet<Port> = network.plugs.keys().chain(network.members.keys()).copied().collect();
        network.refresh(all.into_iter().filter(|port| !network.masters.contains_key(port)).collect::<Vec<_>>());
        (network, pictures)
    }

    /// The ports at both ends of a cable.
    #[must_use]
    pub fn ends(&self, cable: CableId) -> [Port; 2] {
        self.cables[cable.0].ends
    }

    /// How many cables there are.
    #[must_use]
    pub const fn cables(&self) -> usize {
        self.cables.len()
    }

    /// All cables of a node.
    pub fn cables_of(&self, node: NodeId) -> impl Iterator<Item = CableId> {
        self.by_node[node.0].iter().copied()
    }

    /// The first cable between two nodes.
    #[must_use]
    pub fn between(&self, a: NodeId, b: NodeId) -> Option<CableId> {
        let joins = |cable: &CableId| {
            let [one, other] = self.ends(*cable);
            (one.node, other.node) == (a, b) || (one.node, other.node) == (b, a)
        };
        self.cables_of(a).find(joins)
    }

    /// Light on or off, at both ends.
    pub fn set_carrier(&mut self, cable: CableId, carrier: bool) {
        self.change(&[cable], |network| network.cables[cable.0].carrier = carrier);
    }

    /// Whether both ends see light.
    #[must_use]
    pub fn has_carrier(&self, cable: CableId) -> bool {
        self.cables[cable.0].carrier
    }

    /// Swallows every packet from now on, or no longer.
    pub fn set_deaf(&mut self, cable: CableId, deaf: bool) {
        self.change(&[cable], |network| network.cables[cable.0].deaf = deaf);
    }

    /// A machine without power forwards nothing and answers nothing. Its neighbours still see light: the optics are the switch's.
    pub fn set_power(&mut self, node: NodeId, powered: bool) {
        let cables: Vec<_> = self.cables_of(node).collect();
        self.change(&cables, |network| network.powered[node.0] = powered);
    }

    /// Whether an interface has carrier: its own cable's, or for a bridge that of any port.
    #[must_use]
    pub fn is_lit(&self, port: Port) -> bool {
        let lit = |port: &Port| self.plugs.get(port).is_some_and(|cable| self.cables[cable.0].carrier);
        match self.members.get(&port) {
            Some(ports) => ports.iter().any(lit),
            None => port.link == LOOPBACK || lit(&port),
        }
    }

    /// The bridge that a port belongs to.
    #[must_use]
    pub fn master(&self, port: Port) -> Option<Port> {
        self.masters.get(&port).copied()
    }

    /// Who hears what is sent from a layer-3 port, and how long it takes; the sender is not among them.
    #[must_use]
    pub fn reach(&self, from: Port) -> &[(Port, Duration)] {
        self.reach[from.node.0].get(place(from.link)).map_or(&[], Vec::as_slice)
    }

    /// How long a packet from one port to another takes; `None`: it never arrives.
    #[must_use]
    pub fn distance(&self, from: Port, to: Port) -> Option<Duration> {
        self.reach(from).iter().find(|(port, _)| *port == to).map(|(_, latency)| *latency)
    }

    /// Does something to cables, and finds out again who hears whom where that may matter.
    fn change(&mut self, cables: &[CableId], what: impl FnOnce(&mut Self)) {
        let ends: Vec<Port> = cables.iter().flat_map(|cable| self.ends(*cable)).collect();
        let on_layer_3 = ends.into_iter().map(|port| self.master(port).unwrap_or(port));
        let mut touched: BTreeSet<Port> = on_layer_3.collect();
        self.spread(&mut touched);
        what(self);
        self.refresh(touched.iter().copied());
        let before = touched.clone();
        self.spread(&mut touched);
        self.refresh(touched.difference(&before).copied());
    }

    /// Adds those that these ports hear: hearing is mutual.
    fn spread(&self, ports: &mut BTreeSet<Port>) {
        let heard: Vec<Port> = ports.iter().flat_map(|port| self.reach(*port)).map(|(port, _)| *port).collect();
        ports.extend(heard);
    }

    fn refresh(&mut self, ports: impl IntoIterator<Item = Port>) {
        for port in ports {
            let heard = self.flood(port);
            if let Some(known) = self.reach[port.node.0].get_mut(place(port.link)) {
                *known = heard;
            }
        }
    }

    /// Follows a broadcast over cables and bridges.
    fn flood(&self, from: Port) -> Vec<(Port, Duration)> {
        let mut heard = Vec::new();
        if !self.powered[from.node.0] {
            return heard;
        }
        let mut seen = BTreeSet::new();
        let mut queue: Vec<(Port, Duration)> = match self.members.get(&from) {
            Some(ports) => ports.iter().map(|port| (*port, Duration::ZERO)).collect(),
            None => vec![(from, Duration::ZERO)],
        };
        while let Some((port, so_far)) = queue.pop() {
            let Some(&cable) = self.plugs.get(&port) else {
                continue;
            };
            let Cable { ends, latency, carrier, deaf } = &self.cables[cable.0];
            if !carrier || *deaf || !seen.insert(cable) {
                continue;
            }
            let far = if ends[0] == port { ends[1] } else { ends[0] };
            if !self.powered[far.node.0] {
                continue;
            }
            let so_far = so_far + *latency;
            let Some(bridge) = self.masters.get(&far) else {
                heard.push((far, so_far));
                continue;
            };
            heard.push((*bridge, so_far));
            let others = self.members.get(bridge).into_iter().flatten().filter(|other| **other != far);
            queue.extend(others.map(|other| (*other, so_far)));
        }
        heard.sort_unstable();
        heard
    }
}

/// Interfaces that are ends of cables are numbered behind the loopback interface, in the file's order; bridges follow.
fn cable_index(number: usize) -> IfIndex {
    IfIndex(u32::try_from(number + 2).unwrap_or(u32::MAX))
}

/// Where an interface is among those of its node.
fn place(link: IfIndex) -> usize {
    usize::try_from(link.0).unwrap_or(usize::MAX)
}

fn interfaces(ends: &[&Endpoint], spec: &NodeSpec) -> Vec<LinkInfo> {
    let bridge_index =
        |name: &str| spec.bridges.keys().position(|own| own == name).map(|at| cable_index(ends.len() + at));
    let master = |interface: &str| {
        let owns = |bridge: &&Bridge| bridge.ports.iter().any(|port| port == interface);
        spec.bridges.iter().find(|(_, bridge)| owns(bridge)).and_then(|(name, _)| bridge_index(name))
    };
    let named = |name: &str| spec.addresses.get(name).cloned().unwrap_or_default();
    let mut links = vec![interface(LOOPBACK, "lo", [0; 6], None, &named("lo"))];
    links[0].loopback = true;
    links[0].kind = None;
    for (number, end) in ends.iter().enumerate() {
        let mut addrs = named(&end.interface);
        addrs.extend(end.addresses.iter().filter(|net| !addrs.contains(net)).copied().collect::<Vec<_>>());
        links.push(interface(cable_index(number), &end.interface, end.mac, master(&end.interface), &addrs));
    }
    for (name, bridge) in &spec.bridges {
        let ports = ends.iter().filter(|end| bridge.ports.contains(&end.interface));
        let mac = ports.map(|end| end.mac).min().unwrap_or_default();
        let mut link = interface(bridge_index(name).unwrap_or(LOOPBACK), name, mac, None, &bridge.addresses);
        link.kind = Some("bridge".to_owned());
        links.push(link);
    }
    links
}

/// An interface that is up; one that is no port of a bridge has a link-local address (RFC 4291 §2.5.6).
fn interface(index: IfIndex, name: &str, mac: [u8; 6], master: Option<IfIndex>, addrs: &[IpNet]) -> LinkInfo {
    let mut addrs: Vec<_> = addrs.iter().map(|net| AddrInfo::new(*net)).collect();
    if index != LOOPBACK && master.is_none() {
        addrs.push(AddrInfo::new(IpNet::V6(Ipv6Net::new_assert(link_local(mac), 64))));
    }
    LinkInfo {
        index,
        name: name.to_owned(),
        mac,
        mtu: 1500,
        up: true,
        carrier: true,
        damped: 0,
        loopback: false,
        master,
        kind: Some("veth".to_owned()),
        addrs,
    }
}
