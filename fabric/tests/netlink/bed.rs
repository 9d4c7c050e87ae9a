//! A network namespace to play in, and an independent eye on it: own dumps, and the hand of somebody else who changes things.

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rtnetlink::{LinkBridge, LinkUnspec, LinkVeth};
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use weft_bgp::speaker::{FibChange, Want};
use weft_bgp::types::{Hop, IfIndex, IpNet};
use weft_fabric::config::{FibConfig, NexthopCompat};
use weft_fabric::io::clock::Clock;
use weft_fabric::io::netlink::{Event, Kernel};

pub(crate) const PROTOCOL: u8 = 77;
pub(crate) const METRIC: u32 = 77;
pub(crate) const FOREIGN: u8 = 4;
const DEADLINE: Duration = Duration::from_secs(10);
/// What comes only with a periodic dump, or after growing pauses.
const PATIENCE: Duration = Duration::from_secs(70);

const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const GETROUTE: u16 = 26;
const NEWNEIGH: u16 = 28;
const NEWNEXTHOP: u16 = 104;
const DELNEXTHOP: u16 = 105;
const GETNEXTHOP: u16 = 106;

pub(crate) fn config() -> FibConfig {
    FibConfig {
        install: true,
        table: 254,
        metric: METRIC,
        protocol: PROTOCOL,
        nexthop_base: 0xF000_0000,
        nexthop_count: 0x0100_0000,
        prefer_source_v4: None,
        prefer_source_v6: None,
        keep_on_exit: true,
        unreachable: Vec::new(),
        resilient: Vec::new(),
        nexthop_compat: NexthopCompat::Keep,
        link_damping: true,
        receive_buffer_bytes: 16 << 20,
    }
}

/// A route as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) prefix: IpNet,
    pub(crate) metric: u32,
    pub(crate) protocol: u8,
    /// `rtm_type`: 1 unicast, 6 blackhole, 7 unreachable.
    pub(crate) kind: u8,
    pub(crate) nhid: Option<u32>,
    pub(crate) source: Option<IpAddr>,
}

/// The namespace, seen from outside the daemon.
pub(crate) struct Bed {
    pub(crate) runtime: tokio::runtime::Runtime,
    handle: rtnetlink::Handle,
    socket: Socket,
    pub(crate) clock: Clock,
    seq: u64,
}

impl Bed {
    /// An empty namespace with `lo` up.
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = {
            let _guard = runtime.enter();
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            runtime.spawn(connection);
            handle
        };
        let mut socket = Socket::new(NETLINK_ROUTE).unwrap();
        socket.bind_auto().unwrap();
        let bed = Self { runtime, handle, socket, clock: Clock::start(), seq: 0 };
        bed.set_link("lo", true);
        bed
    }

    /// A pair of links, `NAME` with two addresses and `NAMEp`, both up.
    pub(crate) fn veth(&self, name: &str, v4: &str, v6: &str) -> IfIndex {
        let peer = format!("{name}p");
        let add = self.handle.link().add(LinkVeth::new(name, &peer).build()).execute();
        self.runtime.block_on(add).unwrap();
        // Duplicate address detection would only cost time.
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/accept_dad"), "0").unwrap();
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/keep_addr_on_down"), "1").unwrap();
        self.set_link(name, true);
        self.set_link(&peer, true);
        let link = self.index(name);
        for net in [v4, v6] {
            self.address(link, net.parse().unwrap(), true);
        }
        link
    }

    /// A pair of links without addresses, both up.
    pub(crate) fn port(&self, name: &str) -> IfIndex {
        let peer = format!("{name}p");
        let add = self.handle.link().add(LinkVeth::new(name, &peer).build()).execute();
        self.runtime.block_on(add).unwrap();
        self.set_link(name, true);
        self.set_link(&peer, true);
        self.index(name)
    }

    /// A bridge of these ports, which forwards at once.
    pub(crate) fn bridge(&self, name: &str, ports: &[IfIndex], v4: &str) -> IfIndex {
        let add = self.handle.link().add(LinkBridge::new(name).forward_delay(0).build()).execute();
        self.runtime.block_on(add).unwrap();
        let bridge = self.index(name);
        for port in ports {
            let set = LinkUnspec::new_with_index(port.0).controller(bridge.0).build();
            self.runtime.block_on(self.handle.link().set(set).execute()).unwrap();
        }
        self.set_link(name, true);
        self.address(bridge, v4.parse().unwrap(), true);
        bridge
    }

    /// What a bridge learns from a frame that comes in at a port.
    pub(crate) fn learn(&self, bridge: IfIndex, port: IfIndex, mac: [u8; 6]) {
        // AF_BRIDGE, NUD_REACHABLE, NTF_MASTER; NDA_LLADDR, NDA_MASTER.
        let mut body = vec![7, 0, 0, 0];
        body.extend(port.0.to_ne_bytes());
        body.extend([0x02, 0, 0x04, 0]);
        attribute(&mut body, 2, &mac);
        attribute(&mut body, 9, &bridge.0.to_ne_bytes());
        self.request(NEWNEIGH, 0x500, &body).unwrap();
    }

    /// Who answered for an address.
    pub(crate) fn neighbour(&self, link: IfIndex, address: &str, mac: [u8; 6]) {
        let mut body = vec![2, 0, 0, 0];
        body.extend(link.0.to_ne_bytes());
        body.extend([0x02, 0, 0, 0]);
        attribute(&mut body, 1, &octets(address.parse().unwrap()));
        attribute(&mut body, 2, &mac);
        self.request(NEWNEIGH, 0x500, &body).unwrap();
    }

    pub(crate) fn index(&self, name: &str) -> IfIndex {
        IfIndex(index_of(name))
    }

    pub(crate) fn set_link(&self, name: &str, up: bool) {
        let message = LinkUnspec::new_with_index(index_of(name));
        let message = if up { message.up() } else { message.down() };
        self.runtime.block_on(self.handle.link().set(message.build()).execute()).unwrap();
    }

    pub(crate) fn address(&self, link: IfIndex, net: IpNet, add: bool) {
        let mut body = vec![family(&net), net.prefix_len(), 0, 0];
        body.extend(link.0.to_ne_bytes());
        attribute(&mut body, 2, &octets(net.addr()));
        attribute(&mut body, 1, &octets(net.addr()));
        let (kind, flags) = if add { (NEWADDR, 0x600) } else { (DELADDR, 0) };
        self.request(kind, flags, &body).unwrap();
    }

    /// Whether an address is on the loopback interface.
    pub(crate) fn has_address(&self, net: IpNet) -> bool {
        let lo = self.index("lo").0.to_ne_bytes();
        self.dump(22, &[0; 8]).iter().any(|message| {
            message[4..8] == lo && message[1] == net.prefix_len() && find(&message[8..], 1) == Some(octets(net.addr()))
        })
    }

    /// Somebody else's route: a blackhole.
    pub(crate) fn foreign_route(&self, prefix: IpNet, metric: u32, add: bool) {
        self.foreign_route_in(254, prefix, metric, add);
    }

    pub(crate) fn foreign_route_in(&self, table: u8, prefix: IpNet, metric: u32, add: bool) {
        let mut body = vec![family(&prefix), prefix.prefix_len(), 0, 0, table, FOREIGN, 0, 6, 0, 0, 0, 0];
        attribute(&mut body, 1, &octets(prefix.addr()));
        attribute(&mut body, 6, &metric.to_ne_bytes());
        let (kind, flags) = if add { (NEWROUTE, 0x600) } else { (DELROUTE, 0) };
        self.request(kind, flags, &body).unwrap();
    }

    /// Somebody's route by ways, of which each has an interface, and a gateway of either family or none.
    pub(crate) fn gateway_route(&self, prefix: &str, protocol: u8, ways: &[(IfIndex, Option<&str>)], add: bool) {
        let prefix: IpNet = prefix.parse().unwrap();
        let scope = if ways.iter().any(|(_, gateway)| gateway.is_some()) { 0 } else { 253 };
        let mut body = vec![family(&prefix), prefix.prefix_len(), 0, 0, 254, protocol, scope, 1, 0, 0, 0, 0];
        attribute(&mut body, 1, &octets(prefix.addr()));
        let gateway = |body: &mut Vec<u8>, gateway: &str| {
            let gateway: IpAddr = gateway.parse().unwrap();
            if gateway.is_ipv4() == prefix.addr().is_ipv4() {
                attribute(body, 5, &octets(gateway));
            } else {
                attribute(body, 18, &[&[10, 0][..], &octets(gateway)].concat());
            }
        };
        if let [(link, way)] = ways {
            attribute(&mut body, 4, &link.0.to_ne_bytes());
            way.iter().for_each(|way| gateway(&mut body, way));
        } else {
            let mut all = Vec::new();
            for (link, way) in ways {
                let start = all.len();
                all.extend([0; 4]);
                all.extend(link.0.to_ne_bytes());
                way.iter().for_each(|way| gateway(&mut all, way));
                let length = (all.len() - start) as u16;
                all[start..start + 2].copy_from_slice(&length.to_ne_bytes());
            }
            attribute(&mut body, 9, &all);
        }
        let (kind, flags) = if add { (NEWROUTE, 0x600) } else { (DELROUTE, 0) };
        self.request(kind, flags, &body).unwrap();
    }

    /// Somebody else deletes a route of ours.
    pub(crate) fn delete_route(&self, prefix: IpNet) {
        let mut body = vec![family(&prefix), prefix.prefix_len(), 0, 0, 254, PROTOCOL, 255, 0, 0, 0, 0, 0];
        attribute(&mut body, 1, &octets(prefix.addr()));
        attribute(&mut body, 6, &METRIC.to_ne_bytes());
        self.request(DELROUTE, 0, &body).unwrap();
    }

    /// Somebody else's software deletes routes of ours at one go, as many as there are.
    pub(crate) fn delete_routes(&self, prefixes: &[IpNet]) {
        let socket = careless();
        for some in prefixes.chunks(200) {
            let mut all = Vec::new();
            for prefix in some {
                let mut body = vec![family(prefix), prefix.prefix_len(), 0, 0, 254, PROTOCOL, 255, 0, 0, 0, 0, 0];
                attribute(&mut body, 1, &octets(prefix.addr()));
                attribute(&mut body, 6, &METRIC.to_ne_bytes());
                all.extend(message(DELROUTE, 1, &body));
            }
            socket.send_to(&all, &SocketAddr::new(0, 0), 0).unwrap();
        }
    }

    /// Somebody else adds and deletes routes of his own, so many times, without waiting for anything.
    pub(crate) fn flood(&self, times: u8) {
        let socket = careless();
        for round in 0..times {
            let mut all = Vec::new();
            for (kind, flags) in [(NEWROUTE, 0x601), (DELROUTE, 1)] {
                for number in 0..250 {
                    let mut body = vec![2, 32, 0, 0, 254, FOREIGN, 0, 6, 0, 0, 0, 0];
                    attribute(&mut body, 1, &[172, 16, round, number]);
                    attribute(&mut body, 6, &METRIC.to_ne_bytes());
                    all.extend(message(kind, flags, &body));
                }
            }
            socket.send_to(&all, &SocketAddr::new(0, 0), 0).unwrap();
        }
    }

    /// Somebody adds a blackhole route that carries our marks.
    pub(crate) fn forged_route(&self, prefix: IpNet) {
        let mut body = vec![family(&prefix), prefix.prefix_len(), 0, 0, 254, PROTOCOL, 0, 6, 0, 0, 0, 0];
        attribute(&mut body, 1, &octets(prefix.addr()));
        attribute(&mut body, 6, &METRIC.to_ne_bytes());
        self.request(NEWROUTE, 0x600, &body).unwrap();
    }

    /// How a group spreads: 0 by hash, 1 resilient.
    pub(crate) fn spread(&self, id: u32) -> Option<u16> {
        let objects = self.dump(GETNEXTHOP, &[0; 8]);
        let object = objects.iter().find(|object| find(&object[8..], 1) == Some(id.to_ne_bytes().to_vec()))?;
        Some(u16::from_ne_bytes(find(&object[8..], 3)?[..2].try_into().unwrap()))
    }

    /// A pair of links as [`Bed::veth`], the first with this index; and away with it.
    pub(crate) fn veth_at(&self, name: &str, index: IfIndex, v4: &str, v6: &str) {
        let peer = format!("{name}p");
        let mut add = LinkVeth::new(name, &peer).build();
        add.header.index = index.0;
        self.runtime.block_on(self.handle.link().add(add).execute()).unwrap();
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/accept_dad"), "0").unwrap();
        self.set_link(name, true);
        self.set_link(&peer, true);
        for net in [v4, v6] {
            self.address(index, net.parse().unwrap(), true);
        }
    }

    pub(crate) fn delete_link(&self, link: IfIndex) {
        self.runtime.block_on(self.handle.link().del(link.0).execute()).unwrap();
    }

    /// Somebody else deletes a nexthop object.
    pub(crate) fn delete_nexthop(&self, id: u32) {
        let mut body = vec![0; 8];
        attribute(&mut body, 1, &id.to_ne_bytes());
        self.request(DELNEXTHOP, 0, &body).unwrap();
    }

    /// Somebody else makes a blackhole nexthop object.
    pub(crate) fn foreign_nexthop(&self, id: u32) {
        let mut body = vec![2, 0, FOREIGN, 0, 0, 0, 0, 0];
        attribute(&mut body, 1, &id.to_ne_bytes());
        attribute(&mut body, 4, &[]);
        self.request(NEWNEXTHOP, 0x600, &body).unwrap();
    }

    /// All routes of the main table whose protocol is ours or the stranger's, ascending.
    pub(crate) fn routes(&self) -> Vec<Route> {
        let mut routes: Vec<_> =
            self.dump(GETROUTE, &[0; 12]).iter().filter_map(|message| parse_route(message)).collect();
        routes.sort();
        routes
    }

    pub(crate) fn route(&self, prefix: &str) -> Option<Route> {
        let prefix: IpNet = prefix.parse().unwrap();
        self.routes().into_iter().find(|route| route.prefix == prefix && route.protocol == PROTOCOL)
    }

    /// Links behind a nexthop id, ascending; empty if there is no such object.
    pub(crate) fn links_of(&self, id: u32) -> Vec<IfIndex> {
        let objects = self.nexthops();
        let Some((_, link, group)) = objects.iter().find(|(other, ..)| *other == id) else { return Vec::new() };
        let mut links: Vec<_> = link.iter().copied().collect();
        links.extend(group.iter().flat_map(|id| self.links_of(*id)));
        links.sort();
        links
    }

    /// All nexthop objects: id, link, members.
    pub(crate) fn nexthops(&self) -> Vec<(u32, Option<IfIndex>, Vec<u32>)> {
        let object = |message: &Vec<u8>| {
            let word = |value: Vec<u8>| u32::from_ne_bytes(value[..4].try_into().unwrap());
            let group = find(&message[8..], 2).unwrap_or_default();
            let group = group.chunks(8).map(|entry| word(entry.to_vec())).collect();
            (word(find(&message[8..], 1).unwrap()), find(&message[8..], 5).map(word).map(IfIndex), group)
        };
        self.dump(GETNEXTHOP, &[0; 8]).iter().map(object).collect()
    }

    fn request(&self, kind: u16, flags: u16, body: &[u8]) -> Result<(), i32> {
        self.send(kind, flags | 5, body);
        let mut buffer = vec![0; 1 << 16];
        let length = self.socket.recv(&mut &mut buffer[..], 0).unwrap();
        assert!(length >= 20 && buffer[4] == 2, "an answer");
        match i32::from_ne_bytes(buffer[16..20].try_into().unwrap()) {
            0 => Ok(()),
            errno => Err(errno),
        }
    }

    fn dump(&self, kind: u16, body: &[u8]) -> Vec<Vec<u8>> {
        self.send(kind, 0x301, body);
        let mut found = Vec::new();
        loop {
            let mut buffer = vec![0; 1 << 16];
            let length = self.socket.recv(&mut &mut buffer[..], 0).unwrap();
            let mut rest = &buffer[..length];
            while rest.len() >= 16 {
                let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
                match u16::from_ne_bytes(rest[4..6].try_into().unwrap()) {
                    3 => return found,
                    2 => panic!("a dump of kind {kind} failed"),
                    _ => found.push(rest[16..length].to_vec()),
                }
                rest = &rest[length.next_multiple_of(4).min(rest.len())..];
            }
        }
    }

    fn send(&self, kind: u16, flags: u16, body: &[u8]) {
        self.socket.send_to(&message(kind, flags, body), &SocketAddr::new(0, 0), 0).unwrap();
    }

    pub(crate) fn start(&self, config: &FibConfig) -> (Kernel, Receiver<Event>) {
        let (kernel, mut events) = Kernel::start(config).unwrap();
        match self.wait(events.recv()) {
            Some(Event::Links(links)) => assert!(links.iter().any(|link| link.loopback)),
            other => panic!("the first event is the picture of the links, not {other:?}"),
        }
        (kernel, events)
    }

    pub(crate) fn change(&mut self, prefix: &str, want: Want) -> FibChange {
        self.seq += 1;
        FibChange { prefix: prefix.parse().unwrap(), want, seq: self.seq }
    }

    /// Waits for the acknowledgement of all changes so far, and says what failed.
    pub(crate) fn acked(&self, events: &mut Receiver<Event>) -> Vec<IpNet> {
        let mut all = Vec::new();
        loop {
            match self.wait(events.recv()) {
                Some(Event::Acked { seq, failed }) => {
                    all.extend(failed);
                    if seq == self.seq {
                        return all;
                    }
                }
                Some(Event::Links(_) | Event::LinkDown(_) | Event::Reachable(_)) => {}
                None => panic!("the thread ended"),
            }
        }
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, future).await.expect("within the deadline") })
    }

    /// Polls until a condition holds; returns how long it took.
    pub(crate) fn until(&self, what: &str, condition: impl Fn() -> bool) -> Duration {
        let begun = self.clock.now();
        while !condition() {
            let waited = self.clock.now().since(begun);
            assert!(waited < DEADLINE, "{what}: not within {DEADLINE:?}; {:#?} {:?}", self.routes(), self.nexthops());
            std::thread::park_timeout(Duration::from_millis(1));
        }
        self.clock.now().since(begun)
    }
}

/// A socket of somebody who does not read what the kernel refuses.
fn careless() -> Socket {
    let mut socket = Socket::new(NETLINK_ROUTE).unwrap();
    socket.bind_auto().unwrap();
    socket
}

impl Bed {
    /// As [`Bed::until`], for what may take pauses that grow.
    pub(crate) fn patiently(&self, what: &str, condition: impl Fn() -> bool) -> Duration {
        let begun = self.clock.now();
        while !condition() {
            let waited = self.clock.now().since(begun);
            assert!(waited < PATIENCE, "{what}: not within {PATIENCE:?}; {:#?} {:?}", self.routes(), self.nexthops());
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.clock.now().since(begun)
    }
}

/// Listens for changes of routes and nexthop objects.
pub(crate) struct Ear(Socket);

impl Ear {
    pub(crate) fn new() -> Self {
        let mut socket = Socket::new(NETLINK_ROUTE).unwrap();
        socket.bind_auto().unwrap();
        for group in [7, 11, 32] {
            socket.add_membership(group).unwrap();
        }
        socket.set_non_blocking(true).unwrap();
        Self(socket)
    }

    /// Kinds of messages heard since the last call.
    pub(crate) fn heard(&self) -> Vec<u16> {
        let mut kinds = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        while self.0.recv(&mut &mut buffer[..], 0).is_ok() {
            kinds.push(u16::from_ne_bytes(buffer[4..6].try_into().unwrap()));
        }
        kinds
    }
}

pub(crate) fn via(hops: &[(IfIndex, &str)]) -> Want {
    let hop = |(link, gateway): &(IfIndex, &str)| Hop { link: *link, gateway: gateway.parse().unwrap(), weight: 1 };
    let mut hops: Vec<_> = hops.iter().map(hop).collect();
    hops.sort();
    Want::Hops(Arc::from(hops))
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut message = (body.len() as u32 + 16).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

fn index_of(name: &str) -> u32 {
    let text = std::fs::read_to_string(format!("/proc/thread-self/net/dev_snmp6/{name}")).unwrap();
    text.lines().next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn family(net: &IpNet) -> u8 {
    if net.addr().is_ipv4() { 2 } else { 10 }
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((value.len() as u16 + 4).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn find(mut data: &[u8], wanted: u16) -> Option<Vec<u8>> {
    while data.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([data[0], data[1]]));
        if u16::from_ne_bytes([data[2], data[3]]) & 0x3fff == wanted {
            return Some(data[4..length].to_vec());
        }
        data = &data[length.next_multiple_of(4).min(data.len())..];
    }
    None
}

fn parse_route(message: &[u8]) -> Option<Route> {
    let word = |value: Vec<u8>| u32::from_ne_bytes(value[..4].try_into().unwrap());
    let ip = |value: Vec<u8>| match <[u8; 4]>::try_from(value.clone()) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(value).unwrap()),
    };
    let attributes = &message[12..];
    let protocol = message[5];
    if !(protocol == PROTOCOL || protocol == FOREIGN) || message[4] != 254 {
        return None;
    }
    let zero = if message[0] == 2 { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    Some(Route {
        prefix: IpNet::new(find(attributes, 1).map_or(zero, ip), message[1]).unwrap(),
        metric: find(attributes, 6).map_or(0, word),
        protocol,
        kind: message[7],
        nhid: find(attributes, 30).map(word),
        source: find(attributes, 7).map(ip),
    })
}
